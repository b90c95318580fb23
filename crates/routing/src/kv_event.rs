//! What an endpoint tells of its KV cache, where it tells.
//!
//! The shape of vLLM's events (`vllm/distributed/kv_events.py`: `BlockStored`, `BlockRemoved`, `AllBlocksCleared`), which
//! SGLang and TensorRT-LLM publish too. How they travel (`ZeroMQ`, msgpack), and what happens when some are lost, is known
//! to whoever reads them: a reader that misses a sequence number reports [`KvEvent::Cleared`].

/// The engine's own name of a block's content and of everything before it. vLLM sends a number or 32 bytes; of bytes the
/// last eight are enough here, and they are that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KvBlock(pub u64);

/// Something that happened to the KV cache of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvEvent {
    /// Blocks were filled and can be found from now on.
    Stored {
        /// In the order of the sequence.
        blocks: Vec<KvBlock>,
        /// The block before the first of them; `None` where that begins a sequence.
        parent: Option<KvBlock>,
        /// Their tokens: `block_size` for each block.
        tokens: Vec<u32>,
        /// Tokens in a block.
        block_size: usize,
    },
    /// Blocks cannot be found any more.
    Removed {
        /// In any order.
        blocks: Vec<KvBlock>,
    },
    /// Nothing can be found any more.
    Cleared,
}
