//! From a source to a model that is ready to run.

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io, thread};

use candle_core::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serving::TextCodec;

use crate::cache::KvCache;
use crate::codec::Codec;
use crate::executor::CandleExecutor;
use crate::gguf::{self, GgufWeights, Header};
use crate::hugging_face::{self, SafetensorsWeights};
use crate::llama::Llama;
use crate::weights::WeightSource;
use crate::{LlamaConfig, ModelError, ModelSource, tiny};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceKind {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU; needs the `cuda` feature.
    Cuda {
        /// Which one, from 0.
        ordinal: usize,
    },
}

/// How weights are kept on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightFormat {
    /// In 4 or 8 bits where the file stores all matrices in fewer than 16, else in f32. With 4 or 8 bits,
    /// activations are rounded to 8 bits where they are multiplied, and the KV cache to f16.
    #[default]
    Auto,
    /// In f32, six times as large and as slow to read.
    Full,
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// Where it runs.
    pub device: DeviceKind,
    /// Threads for arithmetic on the CPU; `None` for as many as the machine has.
    pub threads: Option<NonZeroUsize>,
    /// Longest sequence to accept; `None` for what the model was trained for, which is also the limit.
    pub max_model_len: Option<usize>,
    /// How weights are kept on the CPU.
    pub weights: WeightFormat,
}

/// A model in memory, without a KV cache yet.
pub struct LoadedModel {
    /// Its tokenizer and chat template.
    pub codec: Arc<dyn TextCodec>,
    /// Longest sequence that it accepts, prompt and answer together.
    pub max_model_len: usize,
    /// What it calls itself.
    pub name: String,
    model: Llama,
    threads: Arc<ThreadPool>,
}

/// A model's parts, before its weights are loaded.
struct Parts {
    name: String,
    config: LlamaConfig,
    codec: Codec,
    weights: Box<dyn WeightSource + Send>,
}

/// Loads a model.
///
/// # Errors
/// [`ModelError`] names the file and what is wrong with it, or the device that cannot be used.
pub fn load(source: &ModelSource, options: &LoadOptions) -> Result<LoadedModel, ModelError> {
    let device = open(options.device)?;
    let threads = start_threads(options.threads)?;
    let mut parts = match source {
        ModelSource::Tiny { seed } => Parts {
            name: "tiny".into(),
            config: tiny::config(),
            codec: Codec::tiny()?,
            weights: Box::new(tiny::RandomWeights { seed: *seed }),
        },
        ModelSource::Gguf(path) => Parts::from_gguf(path)?,
        ModelSource::HuggingFaceDir(folder) => Parts::from_hugging_face(folder)?,
    };
    let model = threads
        .install(|| Llama::new(&parts.config, parts.weights.as_mut(), &device, options.weights))?;
    let trained = parts.config.max_position;
    Ok(LoadedModel {
        codec: Arc::new(parts.codec),
        max_model_len: options.max_model_len.map_or(trained, |len| len.min(trained)),
        name: parts.name,
        model,
        threads: Arc::new(threads),
    })
}

// === impl Parts ===

impl Parts {
    fn from_gguf(path: &Path) -> Result<Self, ModelError> {
        let mut file = BufReader::new(open_file(path)?);
        let header = Header::read(path, &mut file)?;
        let config = gguf::config(&header)?;
        let name = header.optional_text("general.name")?.unwrap_or("llama").to_owned();
        let codec = gguf::codec(&header, &config)?;
        Ok(Self { name, config, codec, weights: Box::new(GgufWeights::new(header, file)) })
    }

    fn from_hugging_face(folder: &Path) -> Result<Self, ModelError> {
        let config = hugging_face::config(folder)?;
        let codec = hugging_face::codec(folder, &config)?;
        let name = folder.file_name().map_or("llama".into(), |name| name.to_string_lossy());
        let weights = Box::new(SafetensorsWeights::new(folder)?);
        Ok(Self { name: name.into_owned(), config, codec, weights })
    }
}

/// Opens a file to read.
pub(crate) fn open_file(path: &Path) -> Result<File, ModelError> {
    File::open(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => ModelError::NotFound(path.to_owned()),
        _ => ModelError::Io { path: path.to_owned(), cause },
    })
}

// === impl LoadedModel ===

impl LoadedModel {
    /// The shape of the model.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        self.model.config()
    }

    /// Gives the model a KV cache of `num_blocks` blocks of `block_size` tokens and makes it ready to run.
    ///
    /// A token takes [`LlamaConfig::kv_numbers_per_token`], in f16 where the weights are packed and in f32
    /// where they are not.
    ///
    /// # Errors
    /// [`ModelError::Cache`] where the cache is empty or larger than the memory.
    pub fn into_executor(
        self,
        num_blocks: usize,
        block_size: usize,
    ) -> Result<CandleExecutor, ModelError> {
        let cache = KvCache::new(
            self.model.config(),
            num_blocks,
            block_size,
            self.model.device(),
            self.model.cache_precision(),
        )?;
        Ok(CandleExecutor::new(self.model, cache, self.max_model_len, self.threads))
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedModel")
            .field("name", &self.name)
            .field("max_model_len", &self.max_model_len)
            .field("config", self.config())
            .finish_non_exhaustive()
    }
}

fn open(device: DeviceKind) -> Result<Device, ModelError> {
    match device {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda { ordinal } if !cfg!(feature = "cuda") => Err(ModelError::Device {
            ordinal,
            reason: "this program was built without it: build with --features cuda".into(),
        }),
        DeviceKind::Cuda { ordinal } => Device::new_cuda(ordinal)
            .map_err(|error| ModelError::Device { ordinal, reason: error.to_string() }),
    }
}

fn start_threads(wanted: Option<NonZeroUsize>) -> Result<ThreadPool, ModelError> {
    let threads =
        wanted.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("model-{number}"))
        .build()
        .map_err(|error| ModelError::Threads { threads, reason: error.to_string() })
}
