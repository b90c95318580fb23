//! Which loopback addresses are whose.
//!
//! A cluster takes a cell of four second octets, so that several clusters live beside each other on one machine:
//!
//! | addresses | for |
//! |---|---|
//! | `127.A.0.0/16` | pods, as they are advertised |
//! | `127.A+1.0.0/16` | pods, as their programs bind: the same last octets |
//! | `127.A+2.0.0/16` | services |
//! | `127.A+3.0.0/16` | nodes |
//!
//! Elsewhere than on Linux all of loopback but `127.0.0.1` would have to be set up by an administrator. There every pod has
//! `127.0.0.1`, advertised and bound alike, and no relay: ports of different pods must differ, and link faults do not bite.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cells of four: 127.16 to 127.255.
const CELLS: u8 = 60;
/// The first octet of the first cell; below it are addresses that people use by hand.
const FIRST: u8 = 16;
/// The port that says that a cell is taken (the kubelet's own).
const CLAIM_PORT: u16 = 10250;
/// Addresses of one kind in a cell, without the first and the last.
const HOSTS: u32 = (1 << 16) - 2;

/// The addresses of one cluster.
#[derive(Debug)]
pub struct AddressPlan {
    /// The second octet of pods; none where all share `127.0.0.1`.
    first: Option<u8>,
    pods: Arc<Pool>,
    /// Holds the cell: the kernel gives it back when this process ends, however.
    _claim: Option<TcpListener>,
}

/// Numbers in use, and where to look for the next one.
#[derive(Debug, Default)]
struct Pool {
    state: Mutex<(BTreeSet<u32>, u32)>,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, (BTreeSet<u32>, u32)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next free number from 1, not one that was just given back.
    fn take(&self) -> Option<u32> {
        let mut state = self.state();
        let (used, last) = &mut *state;
        let next =
            (1..=HOSTS).map(|step| (*last + step - 1) % HOSTS + 1).find(|n| !used.contains(n))?;
        used.insert(next);
        *last = next;
        Some(next)
    }

    fn give_back(&self, number: u32) {
        self.state().0.remove(&number);
    }
}

impl AddressPlan {
    /// Takes a cell: the one that is named, or the first that nobody has.
    ///
    /// # Errors
    /// When the one that is named is taken, or all are.
    pub fn claim(cell: Option<u8>) -> io::Result<Self> {
        if !cfg!(target_os = "linux") {
            return Ok(Self { first: None, pods: Arc::default(), _claim: None });
        }
        let cells = match cell {
            Some(cell) => cell..cell.saturating_add(1),
            None => 0..CELLS,
        };
        let mut refused = io::Error::other("there is no such cell of addresses");
        for cell in cells.filter(|cell| *cell < CELLS) {
            let first = FIRST + 4 * cell;
            match TcpListener::bind((Ipv4Addr::new(127, first + 3, 255, 254), CLAIM_PORT)) {
                Ok(claim) => {
                    let pods = Arc::default();
                    return Ok(Self { first: Some(first), pods, _claim: Some(claim) });
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The cell that was taken: to be asked for again by a cluster whose services keep their addresses.
    #[must_use]
    pub fn cell(&self) -> Option<u8> {
        self.first.map(|first| (first - FIRST) / 4)
    }

    fn at(&self, kind: u8, number: u32) -> Ipv4Addr {
        let [.., high, low] = number.to_be_bytes();
        match self.first {
            Some(first) => Ipv4Addr::new(127, first + kind, high, low),
            None => Ipv4Addr::LOCALHOST,
        }
    }

    /// The address of the node with this index.
    pub(crate) fn node(&self, index: u32) -> Ipv4Addr {
        self.at(3, index + 1)
    }

    /// Addresses for a pod. They are free again when the last handle is gone.
    pub(crate) fn allocate(&self) -> io::Result<PodAddress> {
        let number = self.pods.take().ok_or_else(|| io::Error::other("no pod address is free"))?;
        let lease = Arc::new(Lease { pool: Arc::clone(&self.pods), number });
        let (advertised, bind) = (self.at(0, number), self.at(1, number));
        Ok(PodAddress { advertised, bind, _lease: Some(lease) })
    }

    /// The network of services. Whoever gives them addresses takes them from here.
    #[must_use]
    pub fn service_network(&self) -> Ipv4Addr {
        self.at(2, 0)
    }
}

/// Where a pod is.
#[derive(Debug, Clone)]
pub(crate) struct PodAddress {
    /// What others connect to.
    pub(crate) advertised: Ipv4Addr,
    /// What its programs bind.
    pub(crate) bind: Ipv4Addr,
    _lease: Option<Arc<Lease>>,
}

impl PodAddress {
    /// An address that is not the pod's alone.
    pub(crate) fn shared(address: Ipv4Addr) -> Self {
        Self { advertised: address, bind: address, _lease: None }
    }
}

#[derive(Debug)]
struct Lease {
    pool: Arc<Pool>,
    number: u32,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.give_back(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_given_back_is_not_the_next() {
        let pool = Pool::default();
        assert_eq!((pool.take(), pool.take()), (Some(1), Some(2)));
        pool.give_back(2);
        assert_eq!(pool.take(), Some(3));
        pool.state().1 = HOSTS - 1;
        assert_eq!((pool.take(), pool.take()), (Some(HOSTS), Some(2)));
    }

    #[test]
    fn two_clusters_take_different_cells() {
        let (one, two) = (AddressPlan::claim(None).unwrap(), AddressPlan::claim(None).unwrap());
        assert_ne!(one.allocate().unwrap().advertised, two.allocate().unwrap().advertised);
    }
}
