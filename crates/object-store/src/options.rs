//! How a write is meant.

/// Which part of an object a write may touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// Everything but `status`, if the kind has a status of its own.
    #[default]
    Main,
    /// `status` alone, and of a built-in kind metadata as Kubernetes allows it.
    Status,
    /// Everything: for the cluster's own loops, where one write changes both, and for `finalize` and `binding`.
    Whole,
}

/// How a write is meant.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Who writes: the field manager's name in `managedFields`. None: fields are not tracked for this write.
    pub manager: Option<String>,
    /// Which part.
    pub part: Part,
    /// The subresource that a write of [`Part::Main`] or [`Part::Whole`] came by, like `scale`: named in `managedFields`.
    pub subresource: &'static str,
    /// Do everything but keep it.
    pub dry_run: bool,
}

impl WriteOptions {
    /// A write by a named manager.
    #[must_use]
    pub fn by(manager: impl Into<String>) -> Self {
        Self { manager: Some(manager.into()), ..Self::default() }
    }

    /// The same, of another part.
    #[must_use]
    pub fn of(self, part: Part) -> Self {
        Self { part, ..self }
    }
}
