//! The behaviours, by subject.

mod apply;
mod lists;
mod patches;
mod versions;
mod watches;

use crate::behaviour::Group;

/// All groups, in the order of a report.
pub const GROUPS: &[Group] =
    &[versions::GROUP, lists::GROUP, watches::GROUP, patches::GROUP, apply::GROUP];
