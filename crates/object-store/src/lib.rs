//! The objects of an embedded cluster: what etcd and the generic registry are to Kubernetes.
//!
//! In one process, synchronous under one lock; only waiting for a change is asynchronous. The API server, the
//! controllers and the node agent all write through [`Store`], so that versions, defaults, validation and watches hold for
//! everybody. HTTP is not known here.

mod bootstrap;
mod bounds;
mod clock;
mod custom;
mod delete;
mod history;
mod journal;
mod list;
mod names;
mod namespaces;
mod object;
mod options;
mod schemas;
mod state;
mod store;
mod strategy;
mod table;
mod watch;

pub use bootstrap::bootstrap;
pub use clock::{Clock, Fixed, System};
pub use delete::{DeleteOptions, Preconditions, Propagation};
pub use journal::OpenError;
pub use list::{List, ListOptions, Matches, Selection};
pub use object::{Object, ObjectRef};
pub use options::{Part, WriteOptions};
pub use schemas::SchemaRef;
pub use store::{Patch, Store};
pub use watch::{Change, ChangeType, Watch};
