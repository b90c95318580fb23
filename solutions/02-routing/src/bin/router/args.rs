//! What can be typed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use proxy::{KvListening, Limits, Member, Settings, Tracing, TrustedProxies, Watching};
use routing::{Direct, Dispatch, Policy};
use sol02_routing::policies::PolicyKind;
use sol02_routing::route_plan::{BackendNo, Planned};
use sol02_routing::{
    BudgetRules, Dispatcher, ExchangeRules, HedgeRules, OutlierRules, Routed, Rules, load,
};

use crate::canary::{self, Rolling};
use crate::catalogue::Deployed;
use crate::http_route::RouteArgs;
use crate::kubernetes::Kubernetes;
use crate::picker::PickerArgs;
use crate::shadow::Copying;

/// Routes OpenAI requests to model servers.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  sol02-router --endpoints http://127.0.0.1:8001,http://127.0.0.1:8002
  sol02-router --endpoints ... --policy p2c --hedge
  sol02-router --endpoints ... --max-in-flight 32 --max-queue 256
  sol02-router --service default/engine --policy prefix
  sol02-router --service default/engine-stable --canary-service default/engine-canary --canary-slow 800ms
  sol02-router --service default/engine --policy prefix --kv-events 5557
  sol02-router --http-route engine --namespace default --policy p2c
  sol02-router --catalogue catalogue.yaml --policy p2c
  sol02-router --endpoints ... --shadow http://127.0.0.1:9001 --shadow-share 5
  sol02-router --picker 0.0.0.0:9002 --inference-pool default/engine --policy prefix

Serves /v1/* and what else clients may ask of a model server, /health, /ready and /metrics. Clients may say who they are
(x-gateway-inference-fairness-id), which conversation it is (x-session-id), and how long they want to wait
(x-request-timeout-ms); with a catalogue also which tier they want (x-llm-tier) and what it may cost (x-llm-max-cost). With a
canary its steps and its end are on standard error, and on /metrics as llm_router_canary_*. SIGTERM drains."
)]
pub(crate) struct Args {
    /// Model servers, separated by commas
    #[arg(long, value_name = "URL", value_delimiter = ',', required_unless_present_any = ["service", "pool", "inference_pool", "http_route", "catalogue"])]
    endpoints: Vec<String>,
    /// What is deployed, where, and what each deployment can do (YAML): requests go to who can serve them
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["endpoints", "service", "pool", "inference_pool", "http_route", "canary_endpoints", "picker", "direct"]
    )]
    pub(crate) catalogue: Option<PathBuf>,
    /// Who gets a request: round-robin, least-request, p2c, load, prefix or combined
    #[arg(long, value_name = "POLICY", default_value = "round-robin")]
    policy: PolicyKind,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Threads that serve
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// What all random choices are drawn from
    #[arg(long, default_value_t = 7)]
    seed: u64,

    /// One attempt for each request, whatever comes of it: no retries, queue, deadlines or ejections
    #[arg(long)]
    direct: bool,
    /// Ask a second endpoint where the first is slower than 95 % of all
    #[arg(long)]
    hedge: bool,
    /// Attempts at most for each request
    #[arg(long, default_value_t = 3)]
    max_attempts: u8,
    /// Retries for each request, over all
    #[arg(long, default_value_t = 0.2)]
    retry_ratio: f64,
    /// Retries a second that are there in any case
    #[arg(long, default_value_t = 10.0)]
    min_retries_per_s: f64,
    /// From a request to the end of its answer
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// From the start of an attempt to its first byte
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    first_byte_timeout: Duration,
    /// Between two pieces of an answer
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    stall_timeout: Duration,
    /// Requests that one endpoint may have at once
    #[arg(long, default_value_t = 256)]
    max_in_flight: u32,
    /// Requests that may wait for a place
    #[arg(long, default_value_t = 1024)]
    max_queue: usize,
    /// How long they may wait
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    max_wait: Duration,
    /// Failures in a row after which an endpoint is ejected
    #[arg(long, default_value_t = 5)]
    consecutive_failures: u32,
    /// How long its first ejection lasts
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    base_ejection_time: Duration,

    /// From one look at the endpoints to the next
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    watch_every: Duration,
    /// Path that says 200 when an endpoint may get requests
    #[arg(long, default_value = "/health")]
    health_path: String,
    /// Path of an endpoint's metrics page
    #[arg(long, default_value = "/metrics")]
    metrics_path: String,
    /// Port at which endpoints publish KV events (vLLM's --kv-events-config, ZeroMQ), each at its own address: who says that its cache is
    /// empty, or may have said so, is not believed to hold anything
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    kv_events: Option<u16>,
    /// Proxies before this one, as networks: their X-Forwarded-For is extended, anybody else's is replaced
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    trusted_proxies: Vec<TrustedProxies>,
    /// Bytes of a request's body
    #[arg(long, default_value_t = 16 << 20)]
    max_body: usize,
    /// After SIGTERM, how long requests are still taken: until everybody knows
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    drain_delay: Duration,
    /// And how long those that are here may take then
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    /// Where to send OpenTelemetry traces: OTLP over HTTP as JSON, e.g. http://jaeger:4318/v1/traces
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")]
    otlp_traces_endpoint: Option<String>,
    /// What this router is called in a trace
    #[arg(long, value_name = "NAME", env = "OTEL_SERVICE_NAME", default_value = "router")]
    service_name: String,
    #[command(flatten)]
    pub(crate) kubernetes: Kubernetes,
    #[command(flatten)]
    pub(crate) route: RouteArgs,
    #[command(flatten)]
    pub(crate) picker: PickerArgs,
    #[command(flatten)]
    pub(crate) canary: Rolling,
    #[command(flatten)]
    shadow: Copying,
    /// End when standard input closes
    #[arg(long, hide = true)]
    pub(crate) exit_with_parent: bool,
}

impl Args {
    /// The addresses of the endpoints that were typed, without a canary's.
    pub(crate) fn endpoints(&self) -> Result<Vec<SocketAddr>> {
        self.endpoints.iter().map(|url| address(url)).collect()
    }

    /// The endpoints, where no cluster says which there are.
    pub(crate) fn members(&self, deployed: Option<&Deployed>) -> Result<Vec<Member>> {
        if let Some(deployed) = deployed {
            return Ok(deployed.fixed());
        }
        let all = |urls: &[String]| urls.iter().map(|url| address(url)).collect::<Result<Vec<_>>>();
        Ok(canary::fixed(&all(&self.endpoints)?, &all(&self.canary.canary_endpoints)?))
    }

    pub(crate) fn settings(&self) -> Result<Settings> {
        let shadow = self.shadow.url.as_deref().map(address).transpose()?;
        Ok(Settings {
            listen: SocketAddr::new(self.host, self.port),
            threads: self.threads,
            limits: Limits {
                max_body: self.max_body,
                stall_timeout: self.stall_timeout,
                ..Limits::default()
            },
            watching: Watching {
                every: self.watch_every,
                health: self.health_path.clone(),
                metrics: self.metrics_path.clone(),
                ..Watching::default()
            },
            drain_delay: self.drain_delay,
            drain_timeout: self.drain_timeout,
            tracing: self
                .otlp_traces_endpoint
                .clone()
                .map(|endpoint| Tracing { endpoint, service: self.service_name.clone() }),
            shadowing: shadow.map(|address| self.shadow.to(address)),
            kv_events: self.kv_events.map(|port| KvListening {
                port,
                settings: kv_events::Settings::default(),
                say: |line| eprintln!("{line}"),
            }),
            trusted_proxies: self.trusted_proxies.clone(),
        })
    }

    /// Who decides. Needs a runtime where there is a canary. A route's plan is read, and published by somebody else.
    pub(crate) fn dispatch(
        &self,
        planned: &Planned,
        deployed: Option<&Deployed>,
    ) -> Result<Box<dyn Dispatch>> {
        let mut policy = self.policy();
        if self.route.is_asked() {
            let (rules, direct) = (self.rules(), self.direct);
            let limits = load::Limits::for_scrapes_every(self.watch_every);
            let (kind, seed) = (self.policy, self.seed);
            let make = move |no: BackendNo| -> Box<dyn Dispatch> {
                let policy = kind.build(limits, seed.wrapping_add(u64::from(no.0)));
                decided(policy, rules, direct)
            };
            let reads_prompt = policy.reads_prompt();
            return Ok(Box::new(Routed::new(planned.clone(), reads_prompt, Box::new(make))));
        }
        if self.canary.is_asked() {
            policy = self.canary.around([policy, self.policy_from(self.seed.wrapping_add(1))])?;
        }
        if let Some(deployed) = deployed {
            let dispatcher = Dispatcher::new(policy, self.rules());
            return Ok(Box::new(dispatcher.with_catalogue(deployed.capable()?)));
        }
        Ok(decided(policy, self.rules(), self.direct))
    }

    /// Who chooses.
    pub(crate) fn policy(&self) -> Box<dyn Policy> {
        self.policy_from(self.seed)
    }

    fn policy_from(&self, seed: u64) -> Box<dyn Policy> {
        self.policy.build(load::Limits::for_scrapes_every(self.watch_every), seed)
    }

    fn rules(&self) -> Rules {
        Rules {
            exchange: ExchangeRules {
                max_attempts: self.max_attempts,
                deadline: self.deadline,
                first_byte_timeout: self.first_byte_timeout,
                max_wait: self.max_wait,
            },
            retries: BudgetRules {
                ratio: self.retry_ratio,
                min_per_s: self.min_retries_per_s,
                ..BudgetRules::default()
            },
            hedges: self.hedge.then(HedgeRules::default),
            outliers: OutlierRules {
                consecutive_failures: self.consecutive_failures,
                base_ejection_time: self.base_ejection_time,
                ..OutlierRules::default()
            },
            max_in_flight: self.max_in_flight,
            max_queue: self.max_queue,
        }
    }
}

fn decided(policy: Box<dyn Policy>, rules: Rules, direct: bool) -> Box<dyn Dispatch> {
    if direct {
        return Box::new(Direct::new(policy));
    }
    Box::new(Dispatcher::new(policy, rules))
}

/// `http://host:port`, or without the scheme.
pub(crate) fn address(url: &str) -> Result<SocketAddr> {
    let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if rest.contains(['/', '@']) {
        bail!("an endpoint is http://HOST:PORT, not {url:?}");
    }
    let mut found = rest.to_socket_addrs().with_context(|| format!("no address for {url:?}"))?;
    found.next().with_context(|| format!("no address for {url:?}"))
}
