//! However a sequence is cut into steps, its logits are those of the naive reference.

use candle_core::Device;
use serving::{Executor, Logprobs, SamplingParams, SequenceId, StepPlan, TokenId};

use super::reference::Reference;
use super::steps::{
    BLOCK_SIZE, NUM_BLOCKS, chunk, difference, executor, executor_with, plan, table, tokens,
};
use crate::cache::{CachePrecision, KvCache};
use crate::tiny::{self, RandomWeights};
use crate::{CandleExecutor, LoadOptions, ModelError, ModelSource, load};

/// Logits of the tiny model are a few units large; f32 sums in another order differ by less than this.
const TOLERANCE: f32 = 2e-4;

fn tiny() -> (CandleExecutor, Reference) {
    let (config, mut weights) = (tiny::config(), RandomWeights { seed: 11 });
    (executor(&config, &mut weights), Reference::new(&config, &mut weights))
}

#[track_caller]
fn assert_same(found: &[f32], expected: &[f32]) {
    let spread = expected.iter().fold(0f32, |max, logit| max.max(logit.abs()));
    assert!(spread > 0.5, "logits of at most {spread} prove nothing");
    let difference = difference(found, expected);
    assert!(difference < TOLERANCE, "logits differ by {difference}");
}

#[test]
fn a_whole_prompt_gives_the_references_logits() {
    let (mut executor, reference) = tiny();
    let prompt = tokens(1, 37);
    let found = executor.logits(&plan(vec![chunk(0, &prompt, 0..37, &table(0, 37))])).unwrap();
    assert_same(&found[0], &reference.logits(&prompt)[36]);
}

#[test]
fn token_by_token_gives_the_references_logits_at_every_position() {
    let (mut executor, reference) = tiny();
    let text = tokens(2, 21);
    let expected = reference.logits(&text);
    for (at, expected) in expected.iter().enumerate() {
        let step = plan(vec![chunk(0, &text, at..at + 1, &table(9, at + 1))]);
        assert_same(&executor.logits(&step).unwrap()[0], expected);
    }
}

#[test]
fn chunks_prefills_and_decodes_mix_in_one_step_over_scattered_blocks() {
    let (mut executor, reference) = tiny();
    let (a, b, c) = (tokens(3, 30), tokens(4, 9), tokens(5, 50));
    let a_table = [40, 3, 17, 60, 2, 31, 8, 55];
    let b_table = [63, 0, 33];
    let c_table = [5, 6, 4, 20, 19, 18, 50, 1, 62, 61, 12, 11, 10];
    let mut first = plan(vec![chunk(0, &a, 0..13, &a_table), chunk(2, &c, 0..31, &c_table)]);
    first.chunks[0].samples = false;
    let found = executor.logits(&first).unwrap();
    assert_eq!(found.len(), 1, "only the second chunk samples");
    assert_same(&found[0], &reference.logits(&c[..31])[30]);
    let second = plan(vec![
        chunk(2, &c, 31..32, &c_table),
        chunk(0, &a, 13..30, &a_table),
        chunk(1, &b, 0..9, &b_table),
    ]);
    let found = executor.logits(&second).unwrap();
    assert_same(&found[0], &reference.logits(&c[..32])[31]);
    assert_same(&found[1], &reference.logits(&a)[29]);
    assert_same(&found[2], &reference.logits(&b)[8]);
}

#[test]
fn a_preempted_sequence_recomputed_in_other_blocks_goes_on_as_before() {
    let (mut executor, reference) = tiny();
    let (text, other) = (tokens(6, 18), tokens(7, 16));
    executor.logits(&plan(vec![chunk(0, &text, 0..17, &table(0, 17))])).unwrap();
    // Another sequence takes the blocks and fills them with its own.
    executor.logits(&plan(vec![chunk(1, &other, 0..16, &table(0, 16))])).unwrap();
    let again = plan(vec![chunk(0, &text, 0..18, &table(30, 18))]);
    assert_same(&executor.logits(&again).unwrap()[0], &reference.logits(&text)[17]);
}

#[test]
fn sequences_that_share_the_blocks_of_a_prefix_compute_only_the_rest() {
    let (mut executor, reference) = tiny();
    let mut one = tokens(8, 8);
    let mut two = one.clone();
    one.extend(tokens(9, 5));
    two.extend(tokens(10, 6));
    let first = executor.logits(&plan(vec![chunk(0, &one, 0..13, &[7, 8, 21, 22])])).unwrap();
    let second = executor.logits(&plan(vec![chunk(1, &two, 8..14, &[7, 8, 40, 41])])).unwrap();
    assert_same(&first[0], &reference.logits(&one)[12]);
    assert_same(&second[0], &reference.logits(&two)[13]);
}

#[test]
fn the_gathered_cache_of_other_devices_gives_the_same_logits() {
    let (config, mut weights) = (tiny::config(), RandomWeights { seed: 11 });
    let cache = KvCache::new_gathered(&config, NUM_BLOCKS, BLOCK_SIZE).unwrap();
    let mut executor = executor_with(&config, &mut weights, cache);
    let reference = Reference::new(&config, &mut weights);
    let (a, b) = (tokens(3, 30), tokens(4, 9));
    let a_table = [40, 3, 17, 60, 2, 31, 8, 55];
    executor.logits(&plan(vec![chunk(0, &a, 0..13, &a_table)])).unwrap();
    let step = plan(vec![chunk(1, &b, 0..9, &[1, 0, 33]), chunk(0, &a, 13..30, &a_table)]);
    let found = executor.logits(&step).unwrap();
    assert_same(&found[0], &reference.logits(&b)[8]);
    assert_same(&found[1], &reference.logits(&a)[29]);
}

/// Greedy decoding, one step at a time.
fn generate(
    executor: &mut CandleExecutor,
    params: &SamplingParams,
    prompts: &[Vec<TokenId>],
    new: usize,
) -> Vec<Vec<TokenId>> {
    let mut texts = prompts.to_vec();
    for (id, prompt) in prompts.iter().enumerate() {
        executor.register(SequenceId(id as u64), prompt, params);
    }
    let mut computed = vec![0; texts.len()];
    for _ in 0..new {
        let chunks = texts.iter().enumerate().map(|(id, text)| {
            chunk(id as u64, text, computed[id]..text.len(), &table(8 * id as u32, text.len()))
        });
        let step: StepPlan = plan(chunks.collect());
        for (id, sampled) in executor.execute(&step).unwrap().sampled.into_iter().enumerate() {
            assert_eq!(sampled.sequence, SequenceId(id as u64));
            computed[id] = texts[id].len();
            texts[id].push(sampled.token);
        }
    }
    texts
}

#[test]
fn greedy_and_seeded_tokens_do_not_depend_on_the_rest_of_the_batch() {
    let sampled =
        SamplingParams { top_k: Some(40), top_p: 0.95, seed: Some(5), ..SamplingParams::default() };
    for params in [SamplingParams::greedy(), sampled] {
        let prompts: Vec<_> = (0..6).map(|seed| tokens(20 + seed, 5 + seed as usize)).collect();
        let together = generate(&mut tiny().0, &params, &prompts, 16);
        for (prompt, text) in prompts.iter().zip(&together) {
            let alone = generate(&mut tiny().0, &params, std::slice::from_ref(prompt), 16);
            assert_eq!(&alone[0], text);
        }
    }
}

#[test]
fn a_prompts_log_probabilities_are_told_once_however_it_is_cut() {
    let (mut executor, reference) = tiny();
    let text = tokens(33, 30);
    let rows = reference.logits(&text);
    let expected: Vec<Logprobs> =
        rows.iter().zip(&text[1..]).map(|(row, &token)| Logprobs::of(row, token, 3)).collect();
    let params =
        SamplingParams { prompt_logprobs: Some(3), logprobs: Some(0), ..SamplingParams::greedy() };
    // Cut anywhere, with a head that the prefix cache holds, and computed again after a preemption.
    let whole = 0..30;
    for (id, cuts) in [(0, &[whole][..]), (1, &[0..7, 7..8, 8..30]), (2, &[12..20, 0..30])] {
        executor.register(SequenceId(id), &text, &params);
        if cuts[0].start > 0 {
            let head = plan(vec![chunk(9, &text, 0..cuts[0].start, &table(8, 30))]);
            executor.logits(&head).unwrap();
        }
        let mut told = Vec::new();
        for cut in cuts {
            let step = plan(vec![chunk(id, &text, cut.clone(), &table(8, 30))]);
            let output = executor.execute(&step).unwrap();
            for mut of in output.logprobs {
                assert_eq!(of.sequence, SequenceId(id));
                told.append(&mut of.prompt);
                if let Some(sampled) = of.sampled {
                    assert_eq!(sampled.chosen.token, output.sampled[0].token);
                    assert_eq!((sampled.rank, sampled.top.len()), (1, 0));
                }
            }
        }
        assert_eq!(told.len(), expected.len());
        for (told, expected) in told.iter().zip(&expected) {
            assert_eq!(told.chosen.token, expected.chosen.token);
            assert!((told.chosen.logprob - expected.chosen.logprob).abs() < 1e-3);
            assert_eq!(told.top.len(), 3);
        }
    }
}

#[test]
fn chunks_and_company_do_not_change_a_bit_of_the_logits() {
    let text = tokens(30, 40);
    let whole = plan(vec![chunk(0, &text, 0..40, &table(0, 40))]);
    let expected = tiny().0.logits(&whole).unwrap().remove(0);
    let (mut executor, _) = tiny();
    let other = tokens(31, 30);
    for (from, to) in [(0, 7), (7, 30), (30, 39)] {
        let company = chunk(1, &other, 0..(to - from), &table(40, 30));
        let step = plan(vec![company, chunk(0, &text, from..to, &table(0, 40))]);
        executor.logits(&step).unwrap();
    }
    let last = plan(vec![chunk(0, &text, 39..40, &table(0, 40))]);
    assert_eq!(executor.logits(&last).unwrap()[0], expected);
}

#[test]
fn a_plan_that_does_not_fit_is_refused_and_names_its_sequence() {
    let (mut executor, _) = tiny();
    let text = tokens(1, 9);
    let mut wrong = |edit: &dyn Fn(&mut serving::Chunk)| {
        let mut bad = chunk(42, &text, 0..9, &table(0, 9));
        edit(&mut bad);
        executor.logits(&plan(vec![bad])).unwrap_err().to_string()
    };
    assert!(wrong(&|chunk| chunk.tokens.clear()).contains("sequence 42: its chunk is empty"));
    assert!(wrong(&|chunk| chunk.tokens[3] = 999_999).contains("token 999999 is outside"));
    assert!(wrong(&|chunk| chunk.block_table.truncate(2)).contains("9 tokens need 3 blocks"));
    assert!(wrong(&|chunk| chunk.block_table[1].0 = 64).contains("block 64 is outside"));
    assert!(wrong(&|chunk| chunk.start = 2048).contains("beyond the model's 2048"));
    let unknown = plan(vec![chunk(3, &text, 0..9, &table(0, 9))]);
    assert!(executor.execute(&unknown).unwrap_err().to_string().contains("never registered"));
}

#[test]
fn the_tiny_model_loads_by_name_and_reads_and_writes_text() {
    let model = load(&"tiny".parse::<ModelSource>().unwrap(), &LoadOptions::default()).unwrap();
    let codec = model.codec.clone();
    let text = "Grüße, <|im_start|>\n";
    let ids = codec.encode(text, true).unwrap();
    assert_eq!(ids.len(), "Grüße, \n".len() + 1, "one token a byte, one for the special token");
    assert_eq!(codec.decode(&ids, false).unwrap(), text);
    assert_eq!(codec.decode(&ids, true).unwrap(), "Grüße, \n");
    assert!(codec.decode(&[259], false).is_err());
    assert_eq!(codec.decode(&codec.encode("ü", true).unwrap()[..1], false).unwrap(), "\u{fffd}");
    let user = serving::ChatMessage { role: "user".into(), content: "Hi".into() };
    let prompt = codec.apply_chat_template(&[user]).unwrap();
    assert_eq!(prompt, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(codec.eos_tokens(), [2]);
    assert_eq!((model.name.as_str(), model.max_model_len), ("tiny", 2048));
    assert!(model.into_executor(8, 16).is_ok());
}

#[test]
fn impossible_options_are_clear_errors() {
    let tiny = "tiny".parse::<ModelSource>().unwrap();
    let model = || load(&tiny, &LoadOptions::default()).unwrap();
    assert!(model().into_executor(0, 16).unwrap_err().to_string().contains("is empty"));
    let huge = model().into_executor(1 << 27, 16).unwrap_err();
    assert!(matches!(huge, ModelError::Cache { .. }), "{huge}");
    assert!(
        KvCache::new(&tiny::config(), usize::MAX, 2, &Device::Cpu, CachePrecision::Half).is_err()
    );
    let cuda = crate::DeviceKind::Cuda { ordinal: 0 };
    let options = LoadOptions { device: cuda, ..LoadOptions::default() };
    let error = load(&tiny, &options).unwrap_err().to_string();
    assert!(error.contains("device cuda:0 cannot be used"), "{error}");
}
