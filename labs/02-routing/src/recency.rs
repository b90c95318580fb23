//! A bounded set of block names in the order of their last use. Given.
//!
//! A table of places and a list through them: looking a name up touches two cache lines, and nothing is allocated once
//! the set is full.

use hashbrown::HashTable;

use crate::prefix_blocks::BlockName;

/// No place.
const NONE: u32 = u32::MAX;

/// A bounded set that forgets what was not used for longest.
#[derive(Debug, Clone)]
pub struct Recency {
    /// Places by the names in them. Names are hashes already.
    table: HashTable<u32>,
    places: Vec<Place>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    capacity: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    name: BlockName,
    newer: u32,
    older: u32,
}

// === impl Recency ===

impl Recency {
    /// An empty set of at most `capacity` names, which is at least 1.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            table: HashTable::new(),
            places: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            capacity: capacity.clamp(1, NONE as usize - 1),
        }
    }

    /// How many names it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The most it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether it holds a name. That is no use of it.
    #[must_use]
    pub fn contains(&self, name: BlockName) -> bool {
        self.find(name).is_some()
    }

    /// Makes a name the most recently used one. A full set forgets its least recently used name for a new one.
    pub fn touch(&mut self, name: BlockName) {
        if let Some(place) = self.find(name) {
            if place != self.newest {
                self.unlink(place);
                self.link(place);
            }
            return;
        }
        if self.len() == self.capacity {
            self.remove(self.places[self.oldest as usize].name);
        }
        let new = Place { name, newer: NONE, older: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = new;
                place
            }
            None => {
                self.places.push(new);
                self.places.len() as u32 - 1
            }
        };
        self.link(place);
        let places = &self.places;
        self.table.insert_unique(name.0, place, |place| places[*place as usize].name.0);
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: BlockName) {
        let places = &self.places;
        let found = self.table.find_entry(name.0, |place| places[*place as usize].name == name);
        if let Ok(entry) = found {
            let (place, _) = entry.remove();
            self.unlink(place);
            self.free.push(place);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    fn find(&self, name: BlockName) -> Option<u32> {
        let is_it = |place: &u32| self.places[*place as usize].name == name;
        self.table.find(name.0, is_it).copied()
    }

    fn link(&mut self, place: u32) {
        let older = std::mem::replace(&mut self.newest, place);
        self.places[place as usize].newer = NONE;
        self.places[place as usize].older = older;
        match self.places.get_mut(older as usize) {
            Some(older) => older.newer = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Place { newer, older, .. } = self.places[place as usize];
        match self.places.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.places.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }
}
