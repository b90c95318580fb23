//! A map from ids that are handed out in order to things that live for a while.

use std::collections::VecDeque;

/// Things by id. A look-up is an index; it has a place for every id from its oldest member to its newest.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    first: u64,
    slots: VecDeque<Option<T>>,
    len: usize,
}

impl<T> Ring<T> {
    pub(crate) fn new() -> Self {
        Self { first: 0, slots: VecDeque::new(), len: 0 }
    }

    /// How many live.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes a thing, and says its id.
    pub(crate) fn push(&mut self, thing: T) -> u64 {
        self.slots.push_back(Some(thing));
        self.len += 1;
        self.first + self.slots.len() as u64 - 1
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        self.slots.get_mut(id.checked_sub(self.first)? as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let removed = self.slots.get_mut(id.checked_sub(self.first)? as usize)?.take()?;
        self.len -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(removed)
    }

    /// All that live, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_when_older_ones_go() {
        let mut ring = Ring::new();
        let ids: Vec<u64> = "abcd".chars().map(|c| ring.push(c)).collect();
        assert_eq!(ids, [0, 1, 2, 3]);
        assert_eq!((ring.remove(1), ring.remove(0), ring.remove(0)), (Some('b'), Some('a'), None));
        assert_eq!(ring.push('e'), 4);
        assert_eq!(ring.get_mut(2), Some(&mut 'c'));
        assert_eq!(ring.get_mut(1), None);
        assert_eq!(ring.get_mut(9), None);
        assert_eq!((ring.len(), ring.iter().collect::<String>()), (3, "cde".to_owned()));
    }
}
