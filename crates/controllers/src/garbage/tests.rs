use serde_json::json;

use super::graph::Graph;
use crate::resource::{Item, PODS};
use apimachinery::Key;

#[test]
fn the_graph_holds_what_is_owned_and_nothing_else() {
    let mut graph = Graph::default();
    let item = |name: &str| Item::new(PODS, Key::namespaced("default", name));
    let owned = json!({"metadata": {"ownerReferences": [{"uid": "x"}, {"uid": "y"}]}});
    graph.note(&item("a"), &owned);
    graph.note(&item("b"), &json!({"metadata": {}}));
    let owner = json!({"metadata": {"uid": "x"}});
    assert_eq!(graph.dependents(&owner), [item("a")]);
    graph.note(&item("a"), &json!({"metadata": {"ownerReferences": [{"uid": "y"}]}}));
    assert!(graph.dependents(&owner).is_empty());
    graph.forget(&item("a"));
    assert_eq!(graph.len(), 0);
}
