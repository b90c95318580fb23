//! Faults on a cluster, for as long as somebody holds them.

use cluster_orders::ObjectName;

use super::Cluster;

/// Faults that were made. Dropping them undoes them.
pub struct Faults<'a> {
    cluster: &'a Cluster,
    objects: Vec<ObjectName>,
}

// === impl Faults ===

impl<'a> Faults<'a> {
    pub(super) fn new(cluster: &'a Cluster, objects: Vec<ObjectName>) -> Self {
        Self { cluster, objects }
    }

    /// Undoes them, and waits until they are.
    pub fn clear(mut self) {
        let objects = std::mem::take(&mut self.objects);
        self.cluster.verdict(self.cluster.try_delete(objects));
    }

    /// The objects that stand for them.
    #[must_use]
    pub fn objects(&self) -> &[ObjectName] {
        &self.objects
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        let objects = std::mem::take(&mut self.objects);
        if !objects.is_empty() {
            // What cannot be undone now goes with the namespace.
            let _ = self.cluster.try_delete(objects);
        }
    }
}
