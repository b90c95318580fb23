//! Devices and models that people serve, by name.
//!
//! **Peaks** are from spec sheets: [RTX 4090][ada], [A100][a100], [L40S][l40s], [H100][h100],
//! [H200][h200], [MI300X][mi300x]. NVIDIA's tables quote matrix arithmetic with sparsity; the dense
//! half is what counts here. **Memory** is what PyTorch reports as total, a little less than the
//! name says.
//!
//! **Bandwidth reached** is what a read of a large array measured: BabelStream's `Dot` on H100,
//! H200 and A100 80 GB, its `Mul` on MI300X, where `Dot` is slower than a copy ([Azure's AI
//! benchmarking guide][azure]); float reads on RTX 4090 and A100 40 GB ([xytpai/nvbench][nvbench]).
//!
//! **Arithmetic reached** starts from the best bf16 matrix product that anybody measured: A100,
//! H100 (also for H200) and MI300X from the [table of maximum achievable matmul FLOPS][mamf] of
//! Bekman's ml-engineering book, RTX 4090 from cuBLASLt at 8192 cubed (175.1 TFLOP/s, above its
//! spec: it boosts higher). The products of a model's layers are less well shaped than the best
//! one: they reach [`LAYER`] of it.
//!
//! For L40S no such measurement was found: both of its efficiencies are assumed.
//!
//! [ada]: https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf
//! [a100]: https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
//! [l40s]: https://resources.nvidia.com/en-us-l40s/l40s-datasheet-28413
//! [h100]: https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet
//! [h200]: https://nvdam.widen.net/s/nb5zzzsjdf/hpc-datasheet-sc23-h200-datasheet-3002446
//! [mi300x]: https://www.amd.com/content/dam/amd/en/documents/instinct-tech-docs/data-sheets/amd-instinct-mi300x-data-sheet.pdf
//! [azure]: https://github.com/Azure/AI-benchmarking-guide/tree/main/Azure_Results
//! [nvbench]: https://github.com/xytpai/nvbench
//! [mamf]: https://github.com/stas00/ml-engineering/tree/master/compute/accelerator#maximum-achievable-matmul-flops-comparison-table

use std::time::Duration;

use crate::{DeviceSpec, Host, Link, ModelShape};

const GIB: f64 = (1u64 << 30) as f64;

/// Part of the best matrix product that the products of a prompt's layers reach.
///
/// From the steps with a prompt of 1,024 and of 2,048 tokens in the [runs on an RTX 4090][runs]
/// that the book compares with: 152 TFLOP/s of 175.1.
///
/// [runs]: https://github.com/scalable-ml-systems/llm-systems-engineering-lab/tree/main/results/raw/001-vllm-performance-triage
const LAYER: f64 = 0.87;

/// Rows that a matrix product works on at a time. 128 by 128 and 128 by 256 are what cuBLAS prefers
/// for large products:
/// <https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/index.html#tile-quant>.
const GPU_TILE: usize = 128;

/// A kernel's start and end on the device within a CUDA graph: between 2 and 4 us on Ampere and
/// later.
const GPU_KERNEL: Duration = Duration::from_micros(3);

/// vLLM V1 (0.8 to 0.11) on a server CPU.
///
/// `step` and `sequence` are what is left of the gaps between tokens of Llama-3.1-8B on an H100 at
/// 1, 38 and 57 requests a second ([inference-perf, kubecon-na-2025, ShareGPT][stages]) once the
/// device's part is taken off. `request` and `prompt_token` are a line through the TTFT of the
/// first request of four runs on the RTX 4090, whose prompt of 512, 1,024, 2,048 or 3,072 tokens
/// the prefix cache had already: 37, 47, 63 and 79 ms, of which one step is 17.5 ms. `launch` is
/// PyTorch's way from Python to the driver.
///
/// [stages]: https://github.com/kubernetes-sigs/inference-perf/tree/main/demos/kubecon-na-2025/vllm/results
const VLLM: Host = Host {
    step: Duration::from_micros(1_250),
    sequence: Duration::from_micros(25),
    launch: Duration::from_micros(10),
    request: Duration::from_micros(10_500),
    prompt_token: Duration::from_nanos(16_600),
};

/// NVLink through a switch, with vLLM's own all-reduce for small messages. Bandwidth: NCCL's bus
/// bandwidth in Azure's guide.
const NVSWITCH: Link = Link { bandwidth: 450e9, latency: Duration::from_micros(10) };

/// NVLink of the third generation.
const NVLINK3: Link = Link { bandwidth: 230e9, latency: Duration::from_micros(10) };

/// Infinity Fabric, eight devices all to all.
const FABRIC: Link = Link { bandwidth: 310e9, latency: Duration::from_micros(15) };

/// PCIe 4.0 with 16 lanes.
const PCIE: Link = Link { bandwidth: 20e9, latency: Duration::from_micros(30) };

/// One line of the table of devices. Efficiencies are the two measured figures over the two peaks.
struct Device {
    name: &'static str,
    /// Peak and reached, in TFLOP/s.
    tflops: (f64, f64),
    /// Peak and reached, in GB/s.
    gb_per_s: (f64, f64),
    memory_gib: f64,
    link: Link,
}

const DEVICES: [Device; 7] = [
    Device {
        name: "rtx4090",
        tflops: (165.2, 175.1 * LAYER),
        gb_per_s: (1_008.0, 921.9),
        memory_gib: 23.5,
        link: PCIE,
    },
    Device {
        name: "a100-40gb",
        tflops: (312.0, 271.2 * LAYER),
        gb_per_s: (1_555.0, 1_379.7),
        memory_gib: 39.4,
        link: NVLINK3,
    },
    Device {
        name: "a100",
        tflops: (312.0, 271.2 * LAYER),
        gb_per_s: (2_039.0, 1_750.0),
        memory_gib: 79.2,
        link: NVLINK3,
    },
    Device {
        name: "l40s",
        // Assumed: 0.7 of the peak at 350 W, and an RTX 4090's share of the bandwidth less 5 % for
        // ECC.
        tflops: (362.0, 253.4 * LAYER),
        gb_per_s: (864.0, 751.0),
        memory_gib: 44.4,
        link: PCIE,
    },
    Device {
        name: "h100",
        tflops: (989.4, 794.5 * LAYER),
        gb_per_s: (3_350.0, 3_180.0),
        memory_gib: 79.1,
        link: NVSWITCH,
    },
    Device {
        name: "h200",
        tflops: (989.4, 794.5 * LAYER),
        gb_per_s: (4_800.0, 4_480.0),
        memory_gib: 139.8,
        link: NVSWITCH,
    },
    Device {
        name: "mi300x",
        tflops: (1_307.4, 781.9 * LAYER),
        gb_per_s: (5_300.0, 4_260.0),
        memory_gib: 191.5,
        link: FABRIC,
    },
];

impl DeviceSpec {
    /// The names of all devices in the catalogue.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DEVICES.iter().map(|device| device.name)
    }

    /// A device of the catalogue, with vLLM on a server CPU beside it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let device = DEVICES.iter().find(|device| device.name == name)?;
        let ((flops, flops_reached), (bandwidth, bandwidth_reached)) =
            (device.tflops, device.gb_per_s);
        Some(Self {
            name: device.name.to_owned(),
            flops: flops * 1e12,
            bandwidth: bandwidth * 1e9,
            memory: device.memory_gib * GIB,
            compute_efficiency: flops_reached / flops,
            bandwidth_efficiency: bandwidth_reached / bandwidth,
            tile: GPU_TILE,
            kernel: GPU_KERNEL,
            link: device.link,
            host: VLLM,
        })
    }
}

/// One line of the table of models, all in bf16: name, layers, hidden, intermediate, heads, KV
/// heads, head dimension, vocabulary, tied embeddings, experts, experts per token.
type Model = (&'static str, usize, usize, usize, usize, usize, usize, usize, bool, usize, usize);

/// From each model's `config.json` on Hugging Face.
const MODELS: [Model; 19] = [
    ("smollm2-135m", 30, 576, 1_536, 9, 3, 64, 49_152, true, 1, 1),
    ("llama-3.2-1b", 16, 2_048, 8_192, 32, 8, 64, 128_256, true, 1, 1),
    ("llama-3.2-3b", 28, 3_072, 8_192, 24, 8, 128, 128_256, true, 1, 1),
    ("llama-3.1-8b", 32, 4_096, 14_336, 32, 8, 128, 128_256, false, 1, 1),
    ("llama-3.1-70b", 80, 8_192, 28_672, 64, 8, 128, 128_256, false, 1, 1),
    ("mistral-7b", 32, 4_096, 14_336, 32, 8, 128, 32_768, false, 1, 1),
    ("mixtral-8x7b", 32, 4_096, 14_336, 32, 8, 128, 32_000, false, 8, 2),
    ("qwen2.5-0.5b", 24, 896, 4_864, 14, 2, 64, 151_936, true, 1, 1),
    ("qwen2.5-1.5b", 28, 1_536, 8_960, 12, 2, 128, 151_936, true, 1, 1),
    ("qwen2.5-3b", 36, 2_048, 11_008, 16, 2, 128, 151_936, true, 1, 1),
    ("qwen2.5-7b", 28, 3_584, 18_944, 28, 4, 128, 152_064, false, 1, 1),
    ("qwen2.5-14b", 48, 5_120, 13_824, 40, 8, 128, 152_064, false, 1, 1),
    ("qwen2.5-32b", 64, 5_120, 27_648, 40, 8, 128, 152_064, false, 1, 1),
    ("qwen2.5-72b", 80, 8_192, 29_568, 64, 8, 128, 152_064, false, 1, 1),
    ("qwen3-0.6b", 28, 1_024, 3_072, 16, 8, 128, 151_936, true, 1, 1),
    ("qwen3-1.7b", 28, 2_048, 6_144, 16, 8, 128, 151_936, true, 1, 1),
    ("qwen3-4b", 36, 2_560, 9_728, 32, 8, 128, 151_936, true, 1, 1),
    ("qwen3-8b", 36, 4_096, 12_288, 32, 8, 128, 151_936, false, 1, 1),
    ("qwen3-32b", 64, 5_120, 25_600, 64, 8, 128, 151_936, false, 1, 1),
];

impl ModelShape {
    /// The names of all models in the catalogue.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MODELS.iter().map(|model| model.0)
    }

    /// A model of the catalogue.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let &(_, layers, hidden, intermediate, heads, kv_heads, head_dim, vocab, tied, experts, k) =
            MODELS.iter().find(|model| model.0 == name)?;
        Some(Self {
            layers,
            hidden,
            intermediate,
            heads,
            kv_heads,
            head_dim,
            vocab,
            tied_embeddings: tied,
            experts,
            experts_per_token: k,
            weight_bytes: 2,
            kv_bytes: 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_model_has_as_many_weights_as_its_card_says() {
        // Millions of parameters: the safetensors of each model on Hugging Face.
        let cards = [
            ("smollm2-135m", 134.5),
            ("llama-3.2-1b", 1_235.8),
            ("llama-3.2-3b", 3_212.7),
            ("llama-3.1-8b", 8_030.3),
            ("llama-3.1-70b", 70_553.7),
            ("mistral-7b", 7_248.0),
            ("mixtral-8x7b", 46_702.8),
            ("qwen2.5-0.5b", 494.0),
            ("qwen2.5-1.5b", 1_543.7),
            ("qwen2.5-3b", 3_085.9),
            ("qwen2.5-7b", 7_615.6),
            ("qwen2.5-14b", 14_770.0),
            ("qwen2.5-32b", 32_763.9),
            ("qwen2.5-72b", 72_706.2),
            ("qwen3-0.6b", 596.0),
            ("qwen3-1.7b", 1_720.6),
            ("qwen3-4b", 4_022.5),
            ("qwen3-8b", 8_190.7),
            ("qwen3-32b", 32_762.1),
        ];
        assert_eq!(cards.len(), MODELS.len());
        for (name, millions) in cards {
            let parameters = ModelShape::named(name).unwrap().parameters() as f64 / 1e6;
            assert!((parameters / millions - 1.0).abs() < 2e-3, "{name}: {parameters}");
        }
        assert_eq!(ModelShape::named("gpt-9"), None);
    }

    #[test]
    fn every_device_reaches_less_than_it_promises() {
        for name in DeviceSpec::names() {
            let device = DeviceSpec::named(name).unwrap();
            assert!((0.4..0.95).contains(&device.compute_efficiency), "{name}");
            assert!((0.75..0.95).contains(&device.bandwidth_efficiency), "{name}");
        }
        assert_eq!(DeviceSpec::named("abacus"), None);
    }

    #[test]
    fn names_are_unique() {
        let devices: Vec<_> = DeviceSpec::names().collect();
        let models: Vec<_> = ModelShape::names().collect();
        assert_eq!(devices.iter().collect::<BTreeSet<_>>().len(), devices.len());
        assert_eq!(models.iter().collect::<BTreeSet<_>>().len(), models.len());
    }
}
