//! What a deletion asks for.

/// What happens to what an object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// The owner goes at once, the garbage collector takes the rest.
    #[default]
    Background,
    /// The owner goes last.
    Foreground,
    /// What it owned stays, without an owner.
    Orphan,
}

/// Which version of the object may be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// With this uid only.
    pub uid: Option<String>,
    /// At this version only.
    pub resource_version: Option<String>,
}

/// What a deletion asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds until it is taken by force; none: the kind's own (30 for a pod, 0 otherwise).
    pub grace_period_seconds: Option<i64>,
    /// What happens to what it owns; none: the kind's own.
    pub propagation: Option<Propagation>,
    /// Which version.
    pub preconditions: Preconditions,
    /// Do everything but keep it.
    pub dry_run: bool,
}
