//! What is found by content does not depend on how contents are named, nor on how the index keeps
//! the names.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serving::{BlockId, BlockPool, SequenceId, TokenId};
use sol01_triage::block_index::{BlockHash, BlockIndex};
use sol01_triage::{Naming, PagedPool};

const BLOCKS: usize = 24;
const BLOCK_SIZE: usize = 4;

#[test]
fn pools_do_the_same_under_both_namings() {
    let mut rng = StdRng::seed_from_u64(7);
    let [mut sha, mut fold] = [Naming::Sha256, Naming::Trusting]
        .map(|naming| PagedPool::new(BLOCKS, BLOCK_SIZE).with_naming(naming));
    let mut held: HashMap<SequenceId, Vec<TokenId>> = HashMap::new();
    for _ in 0..5_000 {
        let id = SequenceId(rng.random_range(0..6));
        if let Some(tokens) = held.remove(&id) {
            for pool in [&mut sha, &mut fold] {
                pool.publish(id, &tokens);
                pool.free(id);
            }
            continue;
        }
        let len = rng.random_range(1..40);
        let tokens: Vec<TokenId> = (0..len).map(|i| i / 3 + 100 * rng.random_range(0..2)).collect();
        let [one, other] = [&mut sha, &mut fold].map(|pool| {
            let hits = pool.admit(id, &tokens, 64)?;
            pool.allocate(id, tokens.len()).map(|()| hits)
        });
        assert_eq!(one, other);
        assert_eq!(sha.block_table(id), fold.block_table(id));
        if one.is_ok() {
            held.insert(id, tokens);
        }
    }
    assert_eq!(sha.stats(), fold.stats());
    assert!(sha.stats().prefix_hits > 0 && sha.stats().evictions > 0, "{:?}", sha.stats());
}

/// A hash of the given bytes at its start and at its end.
fn hash(head: u8, tail: u8) -> BlockHash {
    let mut bytes = [0; 32];
    (bytes[0], bytes[31]) = (head, tail);
    BlockHash(bytes)
}

#[test]
fn an_index_is_a_map_of_whole_hashes() {
    for tails in [0..=0, 0..=2] {
        let mut rng = StdRng::seed_from_u64(8);
        let mut index = BlockIndex::new(8);
        let mut truth: HashMap<BlockHash, BlockId> = HashMap::new();
        for _ in 0..5_000 {
            let block = BlockId(rng.random_range(0..8));
            // A hash whose first 8 bytes are 0 finds nothing, and is no hash: see `insert`.
            let hash = hash(rng.random_range(1..7), rng.random_range(tails.clone()));
            let known = truth.iter().find(|(_, other)| **other == block).map(|(hash, _)| *hash);
            if rng.random_bool(0.5) {
                truth.retain(|_, other| *other != block);
                truth.insert(hash, block);
                index.insert(hash, block);
            } else {
                truth.retain(|_, other| *other != block);
                assert_eq!(index.remove(block), known);
            }
            let asked = self::hash(rng.random_range(0..7), rng.random_range(tails.clone()));
            assert_eq!(index.get(asked), truth.get(&asked).copied());
        }
    }
}
