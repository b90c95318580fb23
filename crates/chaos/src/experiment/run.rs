//! The life of an experiment: prepare, baseline, inject, prove, hold, recover, and always clean.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use kube::Client;
use tokio::time::sleep;

use super::Experiment;
use super::check::{Check, View};
use super::clear::clear;
use super::guard::Snapshot;
use super::inject::{Made, MakeError, POLL, make};
use super::observe::Workload;
use super::report::{Event, Report, Stage, Verdict, ms};

/// Tries of one look at the cluster.
const MOST_LOOKS: usize = 3;

/// Where and how an experiment runs.
pub struct Options {
    /// The namespace of the workload.
    pub namespace: String,
    /// Told of every event as it happens.
    pub progress: Box<dyn Fn(&Event) + Send + Sync>,
}

/// Runs an experiment, and removes its fault however it ends: by itself, by an error, by a panic, or because `cancel` is ready.
/// What a killed process leaves, the next run or [`clear`](super::clear()) removes; the fault object ends by its duration.
pub async fn run(
    client: Client,
    experiment: &Experiment,
    options: &Options,
    cancel: impl Future<Output = ()>,
) -> Report {
    let workload = Workload::new(client.clone(), &options.namespace, &experiment.workload);
    let mut life = Life {
        client: &client,
        experiment,
        options,
        workload,
        began: Instant::now(),
        events: Vec::new(),
    };
    let verdict = {
        let body = AssertUnwindSafe(life.live()).catch_unwind();
        tokio::select! {
            ended = body => match ended {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(stop)) => stop.verdict(),
                Err(_) => Verdict::Unknown("a bug: the experiment panicked".to_owned()),
            },
            () = cancel => Verdict::Unknown("it was stopped".to_owned()),
        }
    };
    let left_behind = life.clean().await;
    Report { experiment: experiment.name.clone(), verdict, events: life.events, left_behind }
}

/// A fault that was made and is there until somebody removes it.
pub struct Injected {
    /// What happened.
    pub events: Vec<Event>,
    /// Nothing, or why it does not bite.
    pub trouble: Option<String>,
}

/// Makes an experiment's fault, proves that it bites, and leaves it there.
///
/// # Errors
/// Why the workload was not healthy before, or why the fault was not made, as a verdict. What was made is removed then.
pub async fn inject(
    client: Client,
    experiment: &Experiment,
    options: &Options,
) -> Result<Injected, Verdict> {
    let workload = Workload::new(client.clone(), &options.namespace, &experiment.workload);
    let mut life = Life {
        client: &client,
        experiment,
        options,
        workload,
        began: Instant::now(),
        events: Vec::new(),
    };
    let made = async {
        life.prepare().await?;
        let first = life.baseline().await?;
        let made = life.make().await?;
        Ok::<_, Stop>((first, made))
    };
    match made.await {
        Ok((first, made)) => {
            let trouble = life.bite(&first, &made).await.err().map(|stop| stop.verdict().line());
            Ok(Injected { events: life.events, trouble })
        }
        Err(stop) => {
            life.clean().await;
            Err(stop.verdict())
        }
    }
}

/// Looks again where a connection broke: that says nothing about the workload, and need not end an experiment.
async fn again<T>(look: impl AsyncFn() -> Result<T, kube::Error>) -> Result<T, kube::Error> {
    for _ in 1..MOST_LOOKS {
        match look().await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => sleep(POLL).await,
            other => return other,
        }
    }
    look().await
}

/// Why an experiment ends early.
enum Stop {
    Verdict(Verdict),
    Kube(kube::Error),
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Kube(error)
    }
}

impl Stop {
    fn verdict(self) -> Verdict {
        match self {
            Self::Verdict(verdict) => verdict,
            Self::Kube(error) => Verdict::Unknown(format!("the cluster: {error}")),
        }
    }
}

struct Life<'a> {
    client: &'a Client,
    experiment: &'a Experiment,
    options: &'a Options,
    workload: Workload,
    began: Instant,
    events: Vec<Event>,
}

impl Life<'_> {
    async fn live(&mut self) -> Result<Verdict, Stop> {
        self.prepare().await?;
        let first = self.baseline().await?;
        let made = self.make().await?;
        let before = self.bite(&first, &made).await?;
        self.hold(&first, &made, &before).await?;
        self.recover(&first).await
    }

    fn say(&mut self, stage: Stage, text: impl Into<String>) {
        let event = Event { stage, at_ms: ms(self.began.elapsed()), text: text.into() };
        (self.options.progress)(&event);
        self.events.push(event);
    }

    async fn prepare(&mut self) -> Result<(), Stop> {
        let patience = self.experiment.patience();
        let cleared = clear(self.client, &self.options.namespace, patience).await?;
        for name in cleared.faults.iter().chain(&cleared.engines).chain(&cleared.forced) {
            self.say(Stage::Prepare, format!("removed {name}, which an earlier run left"));
        }
        Ok(())
    }

    /// Waits until the workload is healthy, and remembers it, with all that is compared with it later.
    async fn baseline(&mut self) -> Result<View, Stop> {
        let experiment = self.experiment;
        let all = experiment.bites.iter().chain(&experiment.holds).chain(&experiment.healthy);
        let all: Vec<&Check> = all.collect();
        let view = self.wait_for(&experiment.healthy, &all, None).await?;
        let view = view.map_err(|why| Stop::Verdict(Verdict::Unhealthy(why)))?;
        self.say(Stage::Baseline, format!("healthy: {} pods ready", view.ready()));
        Ok(view)
    }

    async fn make(&mut self) -> Result<Made, Stop> {
        let namespace = &self.options.namespace;
        match make(self.client, namespace, self.experiment, &self.workload).await {
            Ok(made) => {
                self.say(Stage::Inject, format!("made the fault: {}", self.experiment.title));
                Ok(made)
            }
            Err(MakeError::Refused(why)) => Err(Stop::Verdict(Verdict::Unknown(why))),
            Err(MakeError::Kube(error)) => Err(error.into()),
        }
    }

    /// Waits until the executor says that the fault is there, and what is seen of the workload says so too.
    async fn bite(&mut self, first: &View, made: &Made) -> Result<Snapshot, Stop> {
        let unproved = |why: String| Stop::Verdict(Verdict::DidNotBite(why));
        let deadline = Instant::now() + self.experiment.patience();
        while let Err(why) = made.is_injected().await? {
            if Instant::now() >= deadline || why.starts_with("not supported here") {
                return Err(unproved(why));
            }
            sleep(POLL).await;
        }
        // Taken before anybody is told that it bites: what is done to it afterwards is seen.
        let before = again(async || made.snapshot().await).await?;
        let bites = &self.experiment.bites;
        let view = self.wait_for(bites, &bites.iter().collect::<Vec<_>>(), Some(first)).await?;
        if view.is_err() {
            self.no_cheat(made, &before).await?;
        }
        view.map_err(unproved)?;
        self.say(Stage::Bite, "it bites");
        Ok(before)
    }

    /// Looks again and again whether what must hold holds, and whether the fault is still the one that was made.
    async fn hold(&mut self, first: &View, made: &Made, before: &Snapshot) -> Result<(), Stop> {
        let holds: Vec<&Check> = self.experiment.holds.iter().collect();
        let deadline = Instant::now() + self.experiment.hold();
        let mut looks = 0_u32;
        loop {
            self.no_cheat(made, before).await?;
            let view = again(async || self.workload.view(&holds).await).await;
            let broken = match &view {
                Ok(view) => holds.iter().find_map(|check| check.holds(first, view).err()),
                Err(_) => None,
            };
            if view.is_err() || broken.is_some() {
                // Whoever took the workload away did it between the two looks.
                self.no_cheat(made, before).await?;
            }
            view?;
            if let Some(why) = broken {
                return Err(Stop::Verdict(Verdict::Broke(why)));
            }
            looks += 1;
            if Instant::now() >= deadline {
                self.say(Stage::Hold, format!("held at {looks} looks"));
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    /// Whether the fault and the workload are still those that were there when it bit.
    async fn no_cheat(&self, made: &Made, before: &Snapshot) -> Result<(), Stop> {
        let now = again(async || made.snapshot().await).await?;
        before.cheat(&now).map_or(Ok(()), |cheat| Err(Stop::Verdict(Verdict::Cheated(cheat))))
    }

    async fn recover(&mut self, first: &View) -> Result<Verdict, Stop> {
        let patience = self.experiment.patience();
        let cleared = clear(self.client, &self.options.namespace, patience).await?;
        if let Some(name) = cleared.forced.first() {
            let why = format!("{name} was not undone within {} s", patience.as_secs());
            return Ok(Verdict::DidNotRecover(why));
        }
        let healthy = &self.experiment.healthy;
        let looks: Vec<&Check> = healthy.iter().collect();
        if let Err(why) = self.wait_for(healthy, &looks, Some(first)).await? {
            return Ok(Verdict::DidNotRecover(why));
        }
        self.say(Stage::Recover, "healthy again");
        Ok(Verdict::Held)
    }

    /// Removes what is there. Returns what could not be removed.
    async fn clean(&mut self) -> Vec<String> {
        let patience = self.experiment.patience();
        match clear(self.client, &self.options.namespace, patience).await {
            Ok(cleared) => {
                self.say(Stage::Clean, "nothing of the experiment is left");
                cleared.forced
            }
            Err(error) => vec![format!("the cluster: {error}")],
        }
    }

    /// Looks at `seen` until all `checks` hold. The inner error is why they still do not when patience ends.
    async fn wait_for(
        &self,
        checks: &[Check],
        seen: &[&Check],
        first: Option<&View>,
    ) -> Result<Result<View, String>, Stop> {
        let deadline = Instant::now() + self.experiment.patience();
        loop {
            let view = match again(async || self.workload.view(seen).await).await {
                Ok(view) => view,
                Err(kube::Error::Api(error)) if error.code == 404 => {
                    return Ok(Err(format!("there is no Deployment {:?}", self.workload.name())));
                }
                Err(error) => return Err(error.into()),
            };
            let wrong =
                checks.iter().find_map(|check| check.holds(first.unwrap_or(&view), &view).err());
            match wrong {
                None => return Ok(Ok(view)),
                Some(why) if Instant::now() >= deadline => return Ok(Err(why)),
                Some(_) => sleep(POLL).await,
            }
        }
    }
}
