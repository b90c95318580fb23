//! A model that says what vLLM's model said in the recordings, token by token and with its log probabilities.
//!
//! Given the same tokens, our bytes must be vLLM's. Whether our own model says the same is another question, which
//! `sol01-triage`'s live test asks.

use std::collections::HashMap;
use std::sync::Arc;

use serving::{
    ChatMessage, Executor, ExecutorError, Logprobs, SampledToken, SamplingParams, SequenceId,
    SequenceLogprobs, StepOutput, StepPlan, TextCodec, TextError, TokenId, TokenLogprob,
};

use crate::script::Gate;

/// SmolLM2's.
pub(crate) const VOCAB_SIZE: usize = 49152;
/// Its end of text.
pub(crate) const EOS: TokenId = 2;
/// Ids from here on stand for pieces of recorded answers.
const FIRST_PIECE: TokenId = 40_000;

/// Prompts of the recordings.
const PROMPTS: &[(&str, &[TokenId])] = &[
    ("The capital of France is", &[504, 3575, 282, 4649, 314]),
    ("Hello", &[19556]),
    ("The sky is", &[504, 6376, 314]),
    ("Hello world", &[19556, 905]),
];

/// Their tokens.
const WORDS: &[(TokenId, &str)] = &[
    (504, "The"),
    (3575, " capital"),
    (282, " of"),
    (4649, " France"),
    (314, " is"),
    (6376, " sky"),
    (19556, "Hello"),
    (905, " world"),
];

/// Messages and the number of their prompt's tokens.
const CHATS: &[(&str, usize)] = &[
    ("user:What is the capital of France?", 37),
    ("user:Hi", 31),
    ("system:Answer in one word.|user:Capital of Japan?", 23),
];

/// The one prompt of a chat whose tokens the recordings show.
const HI: [TokenId; 31] = [
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407,
    19712, 8182, 2, 198, 1, 4093, 198, 26843, 2, 198, 1, 520, 9531, 198,
];

/// What was said after a prompt, piece by piece. The second column is the seed's offset.
const ANSWERS: &[(&str, u64, &[&str])] = &[
    (
        "The capital of France is",
        0,
        &[
            " Paris", ".", "\n", "\n", "The", " answer", " is", ":", " ", "2", "0", "1", "8", "-",
            "0", "1",
        ],
    ),
    ("Hello", 0, &["-", "by", "-", "date", "-", "but", "-", "not"]),
    ("The sky is", 0, &[" a", " canvas", " of", " colors", ",", " a", " canvas", " of"]),
    (
        "user:What is the capital of France?",
        0,
        &[
            "L", "'", "É", "to", "ile", ",", " la", " Mar", "se", "illa", "ise", ",", " la",
            " fem", "me", ",",
        ],
    ),
    ("user:What is the capital of France?", 1, &["The", " capital", " of"]),
    ("user:Hi", 0, &["Hello", "!", " How", " can"]),
    (
        "system:Answer in one word.|user:Capital of Japan?",
        0,
        &[
            "Japan", " is", " a", " country", " in", " East", " Asia", ",", " located", " in",
            " the", " Pacific", " Ocean", ",", " and", " is",
        ],
    ),
];

/// A token's log probability, the runner-up and its own.
type Position = (f32, &'static str, f32);

/// What was recorded about the answers to these prompts.
const LOGPROBS: &[(&str, &[Position])] = &[
    (
        "The capital of France is",
        &[
            (-0.262_829_57, " the", -2.762_829_5),
            (-0.388_936_88, ",", -1.638_936_9),
            (-0.993_255_1, " The", -2.493_255_1),
        ],
    ),
    (
        "user:What is the capital of France?",
        &[(-1.906_170_1, "The", -1.906_170_1), (-0.440_230_22, "ad", -1.940_230_3)],
    ),
];

/// The pieces of all answers, in the order of their ids.
fn pieces() -> Vec<&'static str> {
    let mut pieces: Vec<&str> = Vec::new();
    let answers = ANSWERS.iter().flat_map(|(_, _, answer)| answer.iter());
    let others = LOGPROBS.iter().flat_map(|(_, all)| all.iter().map(|(_, other, _)| other));
    for piece in answers.chain(others) {
        if !pieces.contains(piece) {
            pieces.push(piece);
        }
    }
    pieces
}

fn piece_id(piece: &str) -> TokenId {
    let at = pieces().iter().position(|known| *known == piece).expect("a known piece");
    FIRST_PIECE + at as TokenId
}

/// The tokens of a chat whose number alone is known.
fn chat_tokens(chat: &str, count: usize) -> Vec<TokenId> {
    if chat == "user:Hi" {
        return HI.to_vec();
    }
    let base = 10_000 + 100 * CHATS.iter().position(|(known, _)| *known == chat).unwrap_or(0);
    (base..base + count).map(|id| id as TokenId).collect()
}

/// Tokens of the recordings; other words are one token each.
pub(crate) struct Recorded;

impl TextCodec for Recorded {
    fn encode(&self, text: &str, _add_special: bool) -> Result<Vec<TokenId>, TextError> {
        if let Some((_, tokens)) = PROMPTS.iter().find(|(prompt, _)| *prompt == text) {
            return Ok(tokens.to_vec());
        }
        if let Some((chat, count)) = CHATS.iter().find(|(chat, _)| *chat == text) {
            return Ok(chat_tokens(chat, *count));
        }
        Ok(text.split_whitespace().map(|_| 5).collect())
    }

    fn decode(&self, tokens: &[TokenId], _skip_special: bool) -> Result<String, TextError> {
        let pieces = pieces();
        let piece = |&id: &TokenId| {
            if let Some((_, word)) = WORDS.iter().find(|(word, _)| *word == id) {
                return *word;
            }
            let at = id.checked_sub(FIRST_PIECE).map(|at| at as usize);
            at.and_then(|at| pieces.get(at).copied()).unwrap_or(" w")
        };
        Ok(tokens.iter().map(piece).collect())
    }

    fn apply_chat_template(&self, messages: &[ChatMessage]) -> Result<String, TextError> {
        let turns: Vec<String> =
            messages.iter().map(|turn| format!("{}:{}", turn.role, turn.content)).collect();
        Ok(turns.join("|"))
    }

    fn eos_tokens(&self) -> &[TokenId] {
        &[EOS]
    }

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }
}

struct Speaker {
    prompt: &'static str,
    answer: Vec<TokenId>,
    said: usize,
    logprobs: Option<usize>,
}

/// The model.
pub(crate) struct Replay {
    gate: Arc<Gate>,
    speakers: HashMap<SequenceId, Speaker>,
}

impl Replay {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, speakers: HashMap::new() }
    }
}

/// Which recorded prompt these tokens are.
fn recorded_prompt(prompt: &[TokenId]) -> &'static str {
    let plain = PROMPTS.iter().find(|(_, tokens)| *tokens == prompt).map(|(text, _)| *text);
    let chat = CHATS.iter().find(|(chat, count)| chat_tokens(chat, *count) == prompt);
    plain.or(chat.map(|(chat, _)| *chat)).unwrap_or("")
}

impl Executor for Replay {
    fn register(&mut self, id: SequenceId, prompt: &[TokenId], params: &SamplingParams) {
        let prompt = recorded_prompt(prompt);
        let seed = params.seed.unwrap_or(0);
        let answer = ANSWERS.iter().find(|(known, s, _)| *known == prompt && *s == seed);
        let answer = answer.map_or(vec![FIRST_PIECE], |(_, _, pieces)| {
            pieces.iter().map(|piece| piece_id(piece)).collect()
        });
        self.speakers.insert(id, Speaker { prompt, answer, said: 0, logprobs: params.logprobs });
    }

    fn release(&mut self, id: SequenceId) {
        self.speakers.remove(&id);
    }

    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        self.gate.pass();
        let mut output = StepOutput::default();
        for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
            let sequence = chunk.sequence;
            let speaker = self.speakers.get_mut(&sequence).expect("it was registered");
            let at = speaker.said;
            speaker.said += 1;
            let token = speaker.answer[at % speaker.answer.len()];
            output.sampled.push(SampledToken { sequence, token });
            if let Some(top) = speaker.logprobs {
                let sampled = Some(logprobs(speaker.prompt, at, token, top));
                output.logprobs.push(SequenceLogprobs { sequence, prompt: Vec::new(), sampled });
            }
        }
        Ok(output)
    }
}

fn logprobs(prompt: &str, at: usize, token: TokenId, top: usize) -> Logprobs {
    let known = LOGPROBS.iter().find(|(known, _)| *known == prompt);
    let (logprob, other, others) =
        known.and_then(|(_, all)| all.get(at)).copied().unwrap_or((-1.0, " the", -2.0));
    let chosen = TokenLogprob { token, logprob };
    let other = TokenLogprob { token: piece_id(other), logprob: others };
    Logprobs { chosen, rank: 1, top: [chosen, other].into_iter().take(top).collect() }
}

/// The tokenizer of the recordings.
pub(crate) fn codec() -> Arc<dyn TextCodec> {
    Arc::new(Recorded)
}
