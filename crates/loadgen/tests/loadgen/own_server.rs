//! The course's own server, with a model that always says `x`.

use std::net::SocketAddr;
use std::sync::Arc;

use loadgen::{Endpoint, Plan, Target, run};
use server::{Backend, Config, Shutdown, serve_until};
use serving::baseline::{ContiguousPool, Counters, StaticScheduler};
use serving::{
    ChatMessage, Engine, Executor, ExecutorError, SampledToken, SamplingParams, SchedulerLimits,
    SequenceId, StepOutput, StepPlan, TextCodec, TextError, TokenId,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::load::{closed, kinds, open, setup};

const BLOCK_SIZE: usize = 16;
const MAX_MODEL_LEN: usize = 1024;
const MAX_SEQS: usize = 8;

/// One token a byte.
struct Bytes;

impl TextCodec for Bytes {
    fn encode(&self, text: &str, _: bool) -> Result<Vec<TokenId>, TextError> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn decode(&self, tokens: &[TokenId], _: bool) -> Result<String, TextError> {
        let bytes = tokens.iter().filter_map(|token| u8::try_from(*token).ok()).collect::<Vec<_>>();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn apply_chat_template(&self, messages: &[ChatMessage]) -> Result<String, TextError> {
        Ok(messages.iter().map(|message| message.content.as_str()).collect())
    }

    fn eos_tokens(&self) -> &[TokenId] {
        &[256]
    }

    fn vocab_size(&self) -> usize {
        257
    }
}

struct AlwaysX;

impl Executor for AlwaysX {
    fn register(&mut self, _: SequenceId, _: &[TokenId], _: &SamplingParams) {}

    fn release(&mut self, _: SequenceId) {}

    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        let chunks = plan.chunks.iter().filter(|chunk| chunk.samples);
        let x = chunks.map(|chunk| SampledToken { sequence: chunk.sequence, token: b'x'.into() });
        Ok(x.collect::<Vec<_>>().into())
    }
}

/// Runs `test` while the server serves.
fn with_server(test: impl FnOnce(SocketAddr)) {
    let (tell, address) = std::sync::mpsc::sync_channel(1);
    let (drain, drained) = oneshot::channel::<()>();
    let shutdown =
        Shutdown { drain: async { drained.await.unwrap_or(()) }, abort: std::future::pending() };
    let load = || {
        let limits = SchedulerLimits::try_new(MAX_SEQS, 4096)?;
        let blocks = MAX_SEQS * serving::blocks_for(MAX_MODEL_LEN, BLOCK_SIZE);
        let scheduler = StaticScheduler::new(limits, ContiguousPool::new(blocks, BLOCK_SIZE));
        let engine = Engine::new(Box::new(scheduler), Box::new(AlwaysX));
        Ok(Backend { engine, codec: Arc::new(Bytes), max_model_len: MAX_MODEL_LEN })
    };
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let config = Config { served_model_name: "x".to_owned(), ..Config::default() };
            serve_until(listener, config, Box::new(Counters::new("x")), load, shutdown).await
        })
    });
    test(address.recv().unwrap());
    drain.send(()).unwrap();
    server.join().unwrap().unwrap();
}

#[test]
fn our_own_server_is_measured_token_by_token() {
    with_server(|address| {
        let target = Target::parse(&format!("http://{address}")).unwrap();
        // Until the model is loaded, the server refuses politely.
        let ready = std::time::Instant::now() + crate::double::PATIENCE;
        let model = loop {
            match target.first_model(address, &[]) {
                Ok(model) => break model,
                Err(error) => assert!(std::time::Instant::now() < ready, "{error}"),
            }
        };
        assert_eq!(model, "x");
        for (endpoint, stream, pace) in [
            (Endpoint::Completions, true, open(30)),
            (Endpoint::Completions, false, closed(4, 10)),
            (Endpoint::Chat, true, closed(4, 10)),
        ] {
            let mut setup = setup();
            setup.options.endpoint = endpoint;
            setup.options.stream = stream;
            setup.options.model.clone_from(&model);
            setup.options.continuous_usage = stream;
            setup.options.ignore_eos = true;
            let (options, limits, source) = (&setup.options, setup.limits, setup.source.clone());
            let plan = Plan::new(&target, address, pace, source, options, limits).unwrap();
            let stop = std::sync::atomic::AtomicBool::new(false);
            let mut records = Vec::new();
            run(&plan, &stop, |record| records.push(record), |_| {}).unwrap();
            let failures: Vec<_> = records.iter().filter_map(|r| r.failure.as_ref()).collect();
            assert!(kinds(&records).iter().all(Option::is_none), "{endpoint:?}: {failures:?}");
            for record in &records {
                assert_eq!(record.output_tokens(), 3);
                let pieces = if stream { 3 } else { 1 };
                assert!((1..=pieces).contains(&record.received.content_us.len()), "{record:?}");
                assert!(record.received.prompt_tokens.is_some_and(|tokens| tokens > 7));
            }
        }
    });
}
