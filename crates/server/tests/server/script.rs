//! A model that a test writes the answer of: it repeats its prompt, byte by byte, for ever.
//!
//! A gate in it lets a test run the engine step by step.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serving::{
    ChatMessage, Executor, ExecutorError, Logprobs, SampledToken, SamplingParams, SequenceId,
    SequenceLogprobs, StepOutput, StepPlan, TextCodec, TextError, TokenId, TokenLogprob,
};

/// Ends a text. Tokens below are bytes.
pub(crate) const EOS: TokenId = 256;
/// The model panics where it should say this.
pub(crate) const PANIC: TokenId = 257;
/// The model fails where it should say this.
pub(crate) const FAIL: TokenId = 258;
const VOCAB_SIZE: usize = 259;

/// One token a byte.
pub(crate) struct Bytes;

impl TextCodec for Bytes {
    fn encode(&self, text: &str, _add_special: bool) -> Result<Vec<TokenId>, TextError> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn decode(&self, tokens: &[TokenId], skip_special: bool) -> Result<String, TextError> {
        let mut bytes = Vec::new();
        for &token in tokens {
            match u8::try_from(token) {
                Ok(byte) => bytes.push(byte),
                Err(_) if skip_special => {}
                Err(_) => bytes.extend_from_slice(b"<eos>"),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn apply_chat_template(&self, messages: &[ChatMessage]) -> Result<String, TextError> {
        let mut prompt = String::new();
        for ChatMessage { role, content } in messages {
            if role == "nobody" {
                return Err(TextError::Template("nobody may not speak".to_owned()));
            }
            prompt += &format!("{role}:{content};");
        }
        Ok(prompt)
    }

    fn eos_tokens(&self) -> &[TokenId] {
        &[EOS]
    }

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }
}

#[derive(Default)]
struct Steps {
    /// Steps that may still run; `None` for any number.
    permits: Option<usize>,
    /// Steps that began.
    begun: usize,
}

/// Lets a test hold the engine inside a step.
#[derive(Default)]
pub(crate) struct Gate {
    steps: Mutex<Steps>,
    changed: Condvar,
}

impl Gate {
    /// The next step stops inside.
    pub(crate) fn close(&self) {
        self.steps.lock().unwrap().permits = Some(0);
    }

    /// Lets this many more steps through.
    pub(crate) fn allow(&self, steps: usize) {
        *self.steps.lock().unwrap().permits.get_or_insert(0) += steps;
        self.changed.notify_all();
    }

    pub(crate) fn open(&self) {
        self.steps.lock().unwrap().permits = None;
        self.changed.notify_all();
    }

    pub(crate) fn begun(&self) -> usize {
        self.steps.lock().unwrap().begun
    }

    pub(crate) fn pass(&self) {
        let mut steps = self.steps.lock().unwrap();
        steps.begun += 1;
        let closed = |steps: &mut Steps| steps.permits == Some(0);
        let patience = Duration::from_secs(30);
        let (mut steps, _) = self.changed.wait_timeout_while(steps, patience, closed).unwrap();
        if let Some(permits) = &mut steps.permits {
            *permits = permits.saturating_sub(1);
        }
    }
}

struct Speaker {
    prompt: Vec<TokenId>,
    logprobs: Option<usize>,
    /// What is still to be told about the prompt.
    prompt_logprobs: Option<usize>,
    /// Where in the prompt its answer starts: its seed, unless it is greedy.
    offset: usize,
    said: usize,
}

/// The model.
pub(crate) struct Script {
    pub(crate) gate: Arc<Gate>,
    speakers: HashMap<SequenceId, Speaker>,
}

impl Script {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, speakers: HashMap::new() }
    }
}

/// A token that had to be.
fn certain(token: TokenId, top: usize) -> Logprobs {
    let chosen = TokenLogprob { token, logprob: 0.0 };
    Logprobs { chosen, rank: 1, top: [chosen].into_iter().take(top).collect() }
}

impl Executor for Script {
    fn register(&mut self, id: SequenceId, _prompt: &[TokenId], params: &SamplingParams) {
        let seed = params.seed.filter(|_| params.temperature > 0.0).unwrap_or(0);
        let speaker = Speaker {
            prompt: Vec::new(),
            logprobs: params.logprobs,
            prompt_logprobs: params.prompt_logprobs,
            offset: seed as usize,
            said: 0,
        };
        self.speakers.insert(id, speaker);
    }

    fn release(&mut self, id: SequenceId) {
        self.speakers.remove(&id);
    }

    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        self.gate.pass();
        let mut output = StepOutput::default();
        for chunk in &plan.chunks {
            let speaker = self.speakers.get_mut(&chunk.sequence).expect("it was registered");
            if speaker.said == 0 {
                speaker.prompt.extend(&chunk.tokens);
            }
            if !chunk.samples {
                continue;
            }
            let at = (speaker.offset + speaker.said) % speaker.prompt.len();
            speaker.said += 1;
            let token = speaker.prompt[at];
            assert_ne!(token, PANIC, "the script says so");
            if token == FAIL {
                let cause = "the script says so".to_owned();
                return Err(ExecutorError { tokens: plan.num_tokens(), cause });
            }
            let sequence = chunk.sequence;
            output.sampled.push(SampledToken { sequence, token });
            let told = speaker.prompt_logprobs.take();
            if told.is_some() || speaker.logprobs.is_some() {
                let prompt = speaker.prompt.iter().skip(1).filter(|_| told.is_some());
                let prompt = prompt.map(|&token| certain(token, told.unwrap_or(0))).collect();
                let sampled = speaker.logprobs.map(|top| certain(token, top));
                output.logprobs.push(SequenceLogprobs { sequence, prompt, sampled });
            }
        }
        Ok(output)
    }
}
