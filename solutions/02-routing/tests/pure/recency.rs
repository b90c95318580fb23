//! The bounded set of names does what a list that is moved by hand does, whatever is asked of it.

use std::collections::VecDeque;

use proptest::prelude::*;
use sol02_routing::prefix_blocks::BlockName;
use sol02_routing::recency::Recency;

/// The same by the simplest means: the most recently used name in front.
struct Model {
    names: VecDeque<u64>,
    capacity: usize,
}

impl Model {
    fn touch(&mut self, name: u64) {
        self.names.retain(|known| *known != name);
        self.names.push_front(name);
        self.names.truncate(self.capacity);
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Touch(u64),
    Remove(u64),
    Clear,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        30 => (0u64..40).prop_map(Act::Touch),
        6 => (0u64..40).prop_map(Act::Remove),
        1 => Just(Act::Clear),
    ];
    prop::collection::vec(act, 0..400)
}

proptest! {
    #[test]
    fn a_bounded_set_forgets_what_was_not_used_for_longest(acts in acts(), capacity in 1usize..30) {
        let mut model = Model { names: VecDeque::new(), capacity };
        let mut set = Recency::new(capacity);
        for act in acts {
            match act {
                Act::Touch(name) => {
                    model.touch(name);
                    set.touch(BlockName(name));
                }
                Act::Remove(name) => {
                    model.names.retain(|known| *known != name);
                    set.remove(BlockName(name));
                }
                Act::Clear => {
                    model.names.clear();
                    set.clear();
                }
            }
            prop_assert_eq!(set.len(), model.names.len());
            for name in 0..40 {
                prop_assert_eq!(set.contains(BlockName(name)), model.names.contains(&name));
            }
        }
    }
}
