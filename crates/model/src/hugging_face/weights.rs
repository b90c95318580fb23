//! The weights of all `*.safetensors` files of a folder.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};

use crate::weights::{Weight, WeightSource};
use crate::{LlamaConfig, ModelError};

/// One file, as it is on the disk.
struct Shard {
    path: PathBuf,
    tensors: BufferedSafetensors,
}

/// All files of a folder.
pub(crate) struct SafetensorsWeights {
    shards: Vec<Shard>,
}

impl SafetensorsWeights {
    /// Reads every file; the weights stay in their stored type until they are asked for.
    pub(crate) fn new(folder: &Path) -> Result<Self, ModelError> {
        let io = |path: &Path, cause| ModelError::Io { path: path.to_owned(), cause };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(|cause| io(folder, cause))? {
            let path = entry.map_err(|cause| io(folder, cause))?.path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(ModelError::NotFound(folder.join("model.safetensors")));
        }
        paths.sort();
        let shards = paths
            .into_iter()
            .map(|path| {
                let bytes = fs::read(&path).map_err(|cause| io(&path, cause))?;
                let tensors = BufferedSafetensors::new(bytes).map_err(|error| {
                    ModelError::Corrupt { path: path.clone(), reason: error.to_string() }
                })?;
                Ok(Shard { path, tensors })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { shards })
    }

    fn shard(&self, name: &str) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.tensors.get(name).is_ok())
    }
}

impl WeightSource for SafetensorsWeights {
    fn has(&self, weight: Weight) -> bool {
        self.shard(&weight.hugging_face_name()).is_some()
    }

    fn load(&mut self, weight: Weight, config: &LlamaConfig) -> Result<Tensor, ModelError> {
        let name = weight.hugging_face_name();
        let Some(shard) = self.shard(&name) else {
            return Err(ModelError::MissingTensor(name));
        };
        let tensor = shard.tensors.load(&name, &Device::Cpu).map_err(|error| {
            ModelError::Corrupt { path: shard.path.clone(), reason: error.to_string() }
        })?;
        weight.check_shape(&name, tensor.dims(), config)?;
        match tensor.dtype() {
            DType::F32 | DType::F16 | DType::BF16 => Ok(tensor.to_dtype(DType::F32)?),
            other => Err(ModelError::UnsupportedQuantisation {
                tensor: name,
                found: other.as_str().to_owned(),
            }),
        }
    }
}
