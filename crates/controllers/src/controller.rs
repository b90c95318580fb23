//! What the runner asks of a controller.

use apimachinery::{Kind, Status};
use object_store::Change;

use crate::action::Plan;
use crate::execute::Identity;
use crate::resource::{Item, Resource};
use crate::view::View;

/// A loop of one purpose: which changes concern it, and what to do about an object. It never writes itself.
pub(crate) trait Controller: Send {
    /// Who it is when it writes.
    fn identity(&self) -> Identity;

    /// The resources whose changes it is told.
    fn interests(&self) -> Vec<Resource>;

    /// Whether it is told the changes of every resource, custom ones included.
    fn wants_everything(&self) -> bool {
        false
    }

    /// The objects to look at after a change.
    fn route(&mut self, view: &View, change: &Change) -> Vec<Item>;

    /// Changes of a kind were missed: everything known of it is void. All its objects follow as if added.
    fn reset(&mut self, _kind: &Kind) {}

    /// Looks at an object and says what to do.
    ///
    /// # Errors
    /// Why it cannot be said now; it is asked again.
    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status>;
}
