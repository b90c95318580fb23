//! The header of a GGUF file: metadata, and where which tensor is.
//!
//! Written here and not taken from candle, because a corrupt file must be an error: candle 0.11 multiplies
//! dimensions unchecked and divides by the alignment that the file gives. Nothing is allocated that the
//! file is not large enough to fill. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;

use crate::ModelError;

const MAGIC: [u8; 4] = *b"GGUF";
/// ggml's GGML_MAX_DIMS.
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A value of the metadata, as far as a llama needs it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Any integer.
    Integer(i64),
    /// Any float.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// UTF-8; broken parts are U+FFFD.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of 32-bit integers.
    Integers(Vec<i64>),
    /// An array of something else, passed over.
    Skipped,
}

/// Where a tensor is and what it looks like.
#[derive(Debug, Clone)]
pub(crate) struct TensorInfo {
    /// Outermost dimension first (the file has it last).
    pub(crate) shape: Vec<usize>,
    /// How its numbers are stored.
    pub(crate) dtype: GgmlDType,
    /// Its first byte, from the start of the file.
    pub(crate) offset: u64,
    /// Its length in bytes; within the file.
    pub(crate) size: usize,
}

/// All of a file but its weights.
#[derive(Debug)]
pub(crate) struct Header {
    path: PathBuf,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, TensorInfo>,
}

/// Reads fields and never past the end.
struct Fields<'a, R> {
    path: &'a Path,
    input: R,
    position: u64,
    len: u64,
}

impl Header {
    /// Reads the header, and checks that each tensor lies within the file.
    pub(crate) fn read<R: Read + Seek>(path: &Path, mut input: R) -> Result<Self, ModelError> {
        let io = |cause| ModelError::Io { path: path.to_owned(), cause };
        let len = input.seek(SeekFrom::End(0)).map_err(io)?;
        input.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut fields = Fields { path, input, position: 0, len };
        if fields.bytes::<4>()? != MAGIC {
            return fields.corrupt("it does not begin with GGUF");
        }
        let version = fields.u32()?;
        if version != 2 && version != 3 {
            return fields.corrupt(format!("its GGUF version is {version}, not 2 or 3"));
        }
        let num_tensors = fields.u64()?;
        let num_entries = fields.u64()?;
        let mut metadata = HashMap::new();
        for _ in 0..num_entries {
            let key = fields.text()?;
            let kind = fields.u32()?;
            let value = fields.value(kind)?;
            metadata.insert(key, value);
        }
        let mut tensors = HashMap::new();
        for _ in 0..num_tensors {
            let name = fields.text()?;
            let info = fields.tensor(&name)?;
            tensors.insert(name, info);
        }
        let data = fields.data_start(metadata.get("general.alignment"))?;
        for (name, info) in &mut tensors {
            let end = data.checked_add(info.offset).and_then(|at| at.checked_add(info.size as u64));
            if end.is_none_or(|end| end > len) {
                return fields.corrupt(format!("tensor {name} ends beyond the file's {len} bytes"));
            }
            info.offset += data;
        }
        Ok(Self { path: path.to_owned(), metadata, tensors })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub(crate) fn optional_text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, other, "must be a text")),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, ModelError> {
        self.optional_text(key)?.ok_or_else(|| ModelError::MissingMetadata(key.to_owned()))
    }

    pub(crate) fn optional_count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(count)) if *count >= 0 => Ok(usize::try_from(*count).ok()),
            Some(other) => Err(wrong(key, other, "must be an integer of at least 0")),
        }
    }

    pub(crate) fn count(&self, key: &str) -> Result<usize, ModelError> {
        self.optional_count(key)?.ok_or_else(|| ModelError::MissingMetadata(key.to_owned()))
    }

    pub(crate) fn optional_number(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some(*number as f32)),
            Some(other) => Err(wrong(key, other, "must be a float")),
        }
    }

    pub(crate) fn number(&self, key: &str) -> Result<f32, ModelError> {
        self.optional_number(key)?.ok_or_else(|| ModelError::MissingMetadata(key.to_owned()))
    }

    pub(crate) fn optional_bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(key, other, "must be true or false")),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<&[String], ModelError> {
        match self.get(key) {
            None => Err(ModelError::MissingMetadata(key.to_owned())),
            Some(Value::Texts(texts)) => Ok(texts),
            Some(other) => Err(wrong(key, other, "must be an array of texts")),
        }
    }
}

fn wrong(key: &str, value: &Value, reason: &str) -> ModelError {
    let value = match value {
        Value::Texts(_) | Value::Integers(_) | Value::Skipped => "an array".to_owned(),
        value => format!("{value:?}"),
    };
    ModelError::InvalidMetadata { key: key.to_owned(), value, reason: reason.to_owned() }
}

// === impl Fields ===

impl<R: Read + Seek> Fields<'_, R> {
    fn corrupt<T>(&self, reason: impl Into<String>) -> Result<T, ModelError> {
        Err(ModelError::Corrupt { path: self.path.to_owned(), reason: reason.into() })
    }

    /// Moves on, unless the file ends before.
    fn advance(&mut self, bytes: u64) -> Result<(), ModelError> {
        match self.position.checked_add(bytes).filter(|&end| end <= self.len) {
            Some(end) => {
                self.position = end;
                Ok(())
            }
            None => self.corrupt(format!("its header ends beyond the file's {} bytes", self.len)),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ModelError> {
        self.advance(buffer.len() as u64)?;
        self.input.read_exact(buffer).map_err(|cause| self.io(cause))
    }

    fn io(&self, cause: io::Error) -> ModelError {
        ModelError::Io { path: self.path.to_owned(), cause }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn text(&mut self) -> Result<String, ModelError> {
        let len = self.u64()?;
        if len > self.len - self.position {
            return self.corrupt(format!("it has a text of {len} bytes"));
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// A value of one of GGUF's kinds.
    fn value(&mut self, kind: u32) -> Result<Value, ModelError> {
        Ok(match kind {
            0 => Value::Integer(self.bytes::<1>()?[0].into()),
            1 => Value::Integer(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => self.array()?,
            10 => Value::Integer(i64::try_from(self.u64()?).unwrap_or(i64::MAX)),
            11 => Value::Integer(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return self.corrupt(format!("it has metadata of the unknown kind {other}")),
        })
    }

    fn array(&mut self) -> Result<Value, ModelError> {
        let kind = self.u32()?;
        let len = self.u64()?;
        let width: u64 = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => return self.corrupt(format!("it has an array of the unknown kind {other}")),
        };
        if len > (self.len - self.position) / width {
            return self.corrupt(format!("it has an array of {len} elements"));
        }
        match kind {
            8 => Ok(Value::Texts((0..len).map(|_| self.text()).collect::<Result<_, _>>()?)),
            4 | 5 => {
                let mut bytes = vec![0; (len * width) as usize];
                self.fill(&mut bytes)?;
                let (words, _) = bytes.as_chunks::<4>();
                let integer = |word: &[u8; 4]| match kind {
                    4 => i64::from(u32::from_le_bytes(*word)),
                    _ => i64::from(i32::from_le_bytes(*word)),
                };
                Ok(Value::Integers(words.iter().map(integer).collect()))
            }
            _ => {
                self.advance(len * width)?;
                self.input.seek(SeekFrom::Start(self.position)).map_err(|cause| self.io(cause))?;
                Ok(Value::Skipped)
            }
        }
    }

    /// One entry of the tensor table. Its offset still counts from the end of the header.
    fn tensor(&mut self, name: &str) -> Result<TensorInfo, ModelError> {
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return self.corrupt(format!("tensor {name} has {dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.u64()?).unwrap_or(usize::MAX));
        }
        shape.reverse();
        let number = self.u32()?;
        let Some(dtype) = dtype(number) else {
            let (tensor, found) = (name.to_owned(), format!("number {number}"));
            return Err(ModelError::UnsupportedQuantisation { tensor, found });
        };
        let elements = shape.iter().try_fold(1usize, |product, &width| product.checked_mul(width));
        let row = shape.last().copied().unwrap_or(1);
        let size = elements
            .filter(|_| row.is_multiple_of(dtype.block_size()))
            .and_then(|elements| (elements / dtype.block_size()).checked_mul(dtype.type_size()))
            .filter(|&size| size > 0 && size as u64 <= self.len);
        let Some(size) = size else {
            return self.corrupt(format!("tensor {name} has the impossible shape {shape:?}"));
        };
        Ok(TensorInfo { shape, dtype, offset: self.u64()?, size })
    }

    /// Where the tensors begin: after the header, aligned.
    fn data_start(&self, alignment: Option<&Value>) -> Result<u64, ModelError> {
        let alignment = match alignment {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(value)) if *value > 0 => *value as u64,
            Some(other) => return Err(wrong("general.alignment", other, "must be positive")),
        };
        match self.position.checked_next_multiple_of(alignment) {
            Some(start) => Ok(start),
            None => self.corrupt(format!("its alignment is {alignment}")),
        }
    }
}

/// The types that this crate reads, by ggml's numbers.
fn dtype(number: u32) -> Option<GgmlDType> {
    Some(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        8 => GgmlDType::Q8_0,
        12 => GgmlDType::Q4K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
