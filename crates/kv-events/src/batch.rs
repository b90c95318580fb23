//! A batch of events, out of what vLLM encodes.
//!
//! `vllm/distributed/kv_events.py` writes structs by msgspec: as lists of fields, or (since its pull request 42892, in versions of
//! 2026) as maps of names. Either is read here, of a batch and of each event: vLLM 0.32.0 writes a batch as a list, and its events as
//! maps. Fields that nobody here knows are passed, and so are events of other kinds.

use routing::{KvBlock, KvEvent};

use crate::msgpack::{Malformed, Reader, Value};

/// Events of one batch.
pub const MAX_EVENTS: usize = 65_536;

/// Tokens of one block.
pub const MAX_BLOCK_SIZE: u64 = 65_536;

/// Fields of a batch, in their order.
const BATCH: [&str; 3] = ["ts", "events", "data_parallel_rank"];
/// What every event begins with.
const TAG: [&str; 1] = ["type"];
/// Fields of `BlockStored`.
const STORED: [&str; 11] = [
    "type",
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
    "kv_cache_spec_kind",
];
/// Fields of `BlockRemoved`.
const REMOVED: [&str; 4] = ["type", "block_hashes", "medium", "group_idx"];

/// What an engine says happened to its KV cache in one of its steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Seconds since 1970, by the engine's clock.
    pub at: f64,
    /// In their order.
    pub events: Vec<Told>,
    /// Events of kinds that are not known here.
    pub unknown: u32,
    /// Which of an engine's data-parallel ranks it was.
    pub rank: Option<u64>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub event: KvEvent,
    /// Whether the tokens and the block before them alone make the blocks, in the memory that the model computes from: no adapter, no
    /// salt, no image; not offloaded; of the first group of layers, with full attention; and as many tokens as the blocks hold. Who
    /// names blocks by tokens looks at no others, nor at those behind them: vLLM tells a salt with the first block of a prompt only.
    pub plain: bool,
}

/// Why a batch cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a value, or are no msgpack.
    #[error("not msgpack, or cut off: is this a publisher of KV events?")]
    Malformed,
    /// A field that must be there.
    #[error(
        "`{0}` is missing, or nothing that vLLM sends: see the engine's version of vllm/distributed/kv_events.py"
    )]
    Field(&'static str),
    /// More than is read.
    #[error("more than {limit} {what} in one batch or event")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: u64,
    },
}

impl From<Malformed> for DecodeError {
    fn from(_malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Where each field of a struct begins, if it is there.
type Fields<'a, const N: usize> = [Option<Reader<'a>>; N];

// === impl Batch ===

impl Batch {
    /// Reads one.
    ///
    /// # Errors
    /// [`DecodeError`], where it is no batch. A kind of event that is not known is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [at, events, rank] = fields(&mut Reader::new(bytes), BATCH)?;
        let at = match value(at)? {
            Value::Float(at) => at,
            Value::Unsigned(at) => at as f64,
            _ => return Err(DecodeError::Field("ts")),
        };
        let rank = match value(rank)? {
            Value::Nil => None,
            Value::Unsigned(rank) => Some(rank),
            _ => return Err(DecodeError::Field("data_parallel_rank")),
        };
        let (mut reader, count) = list(events, "events")?;
        if count > MAX_EVENTS {
            return Err(DecodeError::TooMany { what: "events", limit: MAX_EVENTS as u64 });
        }
        let mut batch = Self { at, events: Vec::new(), unknown: 0, rank };
        for _ in 0..count {
            match event(&mut reader)? {
                Some(told) => batch.events.push(told),
                None => batch.unknown += 1,
            }
        }
        Ok(batch)
    }
}

/// The next event; `None` where it is of a kind that is not known.
fn event(reader: &mut Reader<'_>) -> Result<Option<Told>, DecodeError> {
    let [tag] = fields(&mut reader.clone(), TAG)?;
    let told = match value(tag)? {
        Value::Text(b"BlockStored") => stored(fields(reader, STORED)?)?,
        Value::Text(b"BlockRemoved") => removed(fields(reader, REMOVED)?)?,
        Value::Text(b"AllBlocksCleared") => {
            reader.skip()?;
            Told { event: KvEvent::Cleared, plain: true }
        }
        Value::Text(_) => {
            reader.skip()?;
            return Ok(None);
        }
        _ => return Err(DecodeError::Field("type")),
    };
    Ok(Some(told))
}

fn stored(fields: Fields<'_, 11>) -> Result<Told, DecodeError> {
    let [_, hashes, parent, tokens, size, lora, medium, lora_name, keys, group, kind] = fields;
    let blocks = blocks(hashes)?;
    let parent = match value(parent)? {
        Value::Nil => None,
        named => Some(block(named).ok_or(DecodeError::Field("parent_block_hash"))?),
    };
    let block_size = match value(size)? {
        Value::Unsigned(size @ 1..=MAX_BLOCK_SIZE) => size as usize,
        _ => return Err(DecodeError::Field("block_size")),
    };
    let (mut reader, count) = list(tokens, "token_ids")?;
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        let Value::Unsigned(token) = reader.value()? else {
            return Err(DecodeError::Field("token_ids"));
        };
        tokens.push(u32::try_from(token).map_err(|_too_large| DecodeError::Field("token_ids"))?);
    }
    let plain = is_device(medium, group)?
        && value(lora)? == Value::Nil
        && value(lora_name)? == Value::Nil
        && has_no_keys(keys)?
        && matches!(value(kind)?, Value::Nil | Value::Text(b"full_attention"))
        && blocks.len().checked_mul(block_size) == Some(tokens.len());
    Ok(Told { event: KvEvent::Stored { blocks, parent, tokens, block_size }, plain })
}

fn removed(fields: Fields<'_, 4>) -> Result<Told, DecodeError> {
    let [_, hashes, medium, group] = fields;
    let blocks = blocks(hashes)?;
    Ok(Told { event: KvEvent::Removed { blocks }, plain: is_device(medium, group)? })
}

/// Whether blocks are in the memory that the model computes from, and of the first group of layers.
fn is_device(medium: Option<Reader<'_>>, group: Option<Reader<'_>>) -> Result<bool, DecodeError> {
    let device = match value(medium)? {
        Value::Nil => true,
        Value::Text(name) => name.eq_ignore_ascii_case(b"gpu"),
        _ => false,
    };
    Ok(device && matches!(value(group)?, Value::Nil | Value::Unsigned(0)))
}

/// Whether blocks are named by their tokens alone: `extra_keys` has one entry a block.
fn has_no_keys(keys: Option<Reader<'_>>) -> Result<bool, DecodeError> {
    let Some(mut reader) = keys else { return Ok(true) };
    let Value::Array(count) = reader.value()? else { return Ok(value(keys)? == Value::Nil) };
    for _ in 0..count {
        if reader.value()? != Value::Nil {
            return Ok(false);
        }
    }
    Ok(true)
}

fn blocks(hashes: Option<Reader<'_>>) -> Result<Vec<KvBlock>, DecodeError> {
    let (mut reader, count) = list(hashes, "block_hashes")?;
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        blocks.push(block(reader.value()?).ok_or(DecodeError::Field("block_hashes"))?);
    }
    Ok(blocks)
}

/// A name: 64 bits, signed or not, or the last eight of some bytes, which are the 64 bits that vLLM sends where it is to send numbers.
fn block(value: Value<'_>) -> Option<KvBlock> {
    match value {
        Value::Unsigned(hash) => Some(KvBlock(hash)),
        Value::Signed(hash) => Some(KvBlock(hash.cast_unsigned())),
        Value::Bytes(hash) => hash.last_chunk().map(|hash| KvBlock(u64::from_be_bytes(*hash))),
        _ => None,
    }
}

/// A field's value; nil where it is not there.
fn value<'a>(field: Option<Reader<'a>>) -> Result<Value<'a>, DecodeError> {
    Ok(field.map_or(Ok(Value::Nil), |mut reader| reader.value())?)
}

/// A field that is a list: where its elements begin, and how many there are.
fn list<'a>(
    field: Option<Reader<'a>>,
    name: &'static str,
) -> Result<(Reader<'a>, usize), DecodeError> {
    let mut reader = field.ok_or(DecodeError::Field(name))?;
    match reader.value()? {
        Value::Array(count) => Ok((reader, count)),
        _ => Err(DecodeError::Field(name)),
    }
}

/// Passes a struct, and tells where its fields begin. A list has them in the order of `names`.
fn fields<'a, const N: usize>(
    reader: &mut Reader<'a>,
    names: [&'static str; N],
) -> Result<Fields<'a, N>, DecodeError> {
    let mut found = [None; N];
    match reader.value()? {
        Value::Array(count) => {
            for at in 0..count {
                if let Some(field) = found.get_mut(at) {
                    *field = Some(*reader);
                }
                reader.skip()?;
            }
        }
        Value::Map(count) => {
            for _ in 0..count {
                let Value::Text(key) = reader.value()? else {
                    return Err(DecodeError::Field(names[0]));
                };
                if let Some(at) = names.iter().position(|name| name.as_bytes() == key) {
                    found[at] = Some(*reader);
                }
                reader.skip()?;
            }
        }
        _ => return Err(DecodeError::Field(names[0])),
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
