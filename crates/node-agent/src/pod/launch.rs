//! Starts a container: its image, its variables, its view of files; and what follows once it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use super::container::State;
use super::environment::{self, Sources};
use super::hooks::{self, Call};
use super::plan::Role;
use super::probe::{self, Outcome, ProbeKind};
use super::worker::{ContainerView, Message, View, Worker};
use crate::config::Image;
use crate::events::Level;
use crate::expand::expand;
use crate::images;
use crate::supervisor::order::{Log, Mount, Spec, TaskId};

/// Bytes of a log's end that become a termination message (kubelet: 2048).
const LAST_WORDS: u64 = 2048;
/// Lines of it (kubelet: 80).
const LAST_LINES: usize = 80;
/// Where admission mounts the files of a pod's service account.
const ACCOUNT_FILES: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Worker {
    /// Starts a container, or says why it cannot be.
    pub(super) async fn launch(&mut self, index: usize) {
        let Some(image) = self.pull(index) else { return };
        let spec = match self.spec(index, &image) {
            Ok(spec) => spec,
            Err(message) => {
                let path = self.containers[index].path();
                self.say(&path, Level::Warning, "Failed", &format!("Error: {message}"));
                let reason = "CreateContainerConfigError".to_owned();
                self.wait(index, State::Waiting { reason, message });
                self.wake_at(Instant::now() + std::time::Duration::from_secs(2));
                return;
            }
        };
        let Some(sandbox) = self.sandbox.clone() else { return };
        let container = &mut self.containers[index];
        if container.begun {
            container.restarts += 1;
        }
        if let State::Terminated(how) = &container.state {
            container.last = Some(how.clone());
        }
        let run = container.restarts;
        let (name, path) = (container.spec.name.clone(), container.path());
        let dir = self.log_dir().join(&name);
        let limits = self.shared.config.logs;
        let log = Log {
            path: dir.join(format!("{run}.log")),
            max_bytes: limits.max_bytes,
            max_files: limits.max_files,
        };
        if let Err(error) = std::fs::create_dir_all(&dir) {
            let message = format!("{}: {error}", dir.display());
            self.say(&path, Level::Warning, "Failed", &message);
        }
        // The run before is kept for `logs --previous`, as the kubelet keeps it.
        forget_run(&dir, run - 2, limits.max_files);
        let view = ContainerView {
            pid: None,
            run: Some(run),
            waiting: None,
            env: Arc::new(spec.env.clone()),
            dir: spec.dir.clone(),
        };
        self.view.send_modify(|all| _ = all.containers.insert(name.clone(), view));
        self.say(&path, Level::Normal, "Created", &format!("Created container: {name}"));
        let task = sandbox.start_program(spec, Some(log), Vec::new()).await;
        let container = &mut self.containers[index];
        container.task = Some(task);
        container.id = format!("embedded://{}", uuid::Uuid::new_v4().simple());
        container.state = State::Running { since: None, began: Instant::now() };
        container.pull = super::container::Pause::default();
    }

    /// Keeps what ended when it now waits.
    fn wait(&mut self, index: usize, state: State) {
        let container = &mut self.containers[index];
        if let State::Terminated(how) = &container.state {
            container.last = Some(how.clone());
        }
        container.state = state;
    }

    /// Finds the image, with the events of a pull.
    fn pull(&mut self, index: usize) -> Option<Image> {
        let name = self.containers[index].image().to_owned();
        let path = self.containers[index].path();
        let config = &self.shared.config;
        let found = images::find(&config.images, &name).cloned().or_else(|| {
            config.more_images.as_deref().and_then(|folder| images::find_in(folder, &name))
        });
        let message = match found.map(|image| resolve(&image).map(|program| (image, program))) {
            Some(Ok((image, program))) => {
                let message = format!("Container image {name:?} already present on machine");
                self.say(&path, Level::Normal, "Pulled", &message);
                return Some(Image { program, ..image });
            }
            Some(Err(why)) => why,
            None => format!(
                "failed to resolve image {name:?}: the cluster file maps no local program to this name"
            ),
        };
        if self.containers[index].spec.image_pull_policy.as_deref() == Some("Never") {
            let message =
                format!("Container image {name:?} is not present with pull policy of Never");
            self.say(&path, Level::Warning, "ErrImageNeverPull", &message);
            self.wait(index, State::Waiting { reason: "ErrImageNeverPull".into(), message });
            return None;
        }
        let timing = self.shared.config.timing;
        let pull = &mut self.containers[index].pull;
        if pull.next.is_zero() {
            pull.next = timing.backoff;
        }
        pull.fail(Instant::now(), &timing);
        let until = pull.until;
        self.say(&path, Level::Normal, "Pulling", &format!("Pulling image {name:?}"));
        let failed = format!("Failed to pull image {name:?}: {message}");
        self.say(&path, Level::Warning, "Failed", &failed);
        self.say(&path, Level::Warning, "Failed", "Error: ErrImagePull");
        self.wait(index, State::Waiting { reason: "ErrImagePull".into(), message });
        self.publish();
        self.say(&path, Level::Normal, "BackOff", &format!("Back-off pulling image {name:?}"));
        self.say(&path, Level::Warning, "Failed", "Error: ImagePullBackOff");
        let message = format!("Back-off pulling image {name:?}: ErrImagePull");
        self.wait(index, State::Waiting { reason: "ImagePullBackOff".into(), message });
        if let Some(until) = until {
            self.wake_at(until);
        }
        None
    }

    /// What to run.
    fn spec(&self, index: usize, image: &Image) -> Result<Spec, String> {
        let container = &self.containers[index].spec;
        let mut of_image = self.shared.base_env.clone();
        of_image.insert("HOME".to_owned(), self.root().display().to_string());
        if let (Some(dir), Some(path)) = (image.program.parent(), of_image.get_mut("PATH")) {
            *path = format!("{}:{path}", dir.display());
        }
        of_image.extend(image.env.clone());
        let links = self.pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
        let services = match links {
            Some(false) => BTreeMap::new(),
            _ => self.shared.net.service_variables(&self.key.namespace),
        };
        let from = Sources {
            store: &self.shared.store,
            pod: self.object.value(),
            place: &self.place,
            image: &of_image,
            services: &services,
        };
        let env = environment::variables(container, &from)?;
        let expanded = |list: &[String]| -> Vec<String> {
            list.iter().map(|one| expand(one, |name| env.get(name).map(String::as_str))).collect()
        };
        let command = container.command.as_deref().unwrap_or(&[]);
        let args = container.args.as_deref().unwrap_or(&[]);
        let mut argv = if command.is_empty() {
            vec![image.program.display().to_string()]
        } else {
            expanded(command)
        };
        argv.extend(match (command.is_empty(), args.is_empty()) {
            (true, true) => image.args.clone(),
            _ => expanded(args),
        });
        let dir = container.working_dir.clone().filter(|dir| !dir.is_empty());
        Ok(Spec {
            argv,
            env: env.into_iter().collect(),
            dir: dir.map_or_else(|| self.root(), PathBuf::from),
            mounts: self.mounts(index)?,
            scaffold: self.scaffold(index)?,
            hostname: Some(environment::hostname(self.object.value()).to_owned()),
            enter: None,
            tty: false,
        })
    }

    /// Files that the container sees elsewhere than the host does.
    fn mounts(&self, index: usize) -> Result<Vec<Mount>, String> {
        let container = &self.containers[index].spec;
        let mut mounts = Vec::new();
        if let Some(volumes) = &self.volumes {
            mounts = volumes.mounts(container)?;
        }
        if !self.shared.views {
            self.link_instead(index, &mounts)?;
            return Ok(Vec::new());
        }
        if let Some(hosts) = self.exposed.as_ref().and_then(|exposed| exposed.hosts_file()) {
            let target = PathBuf::from("/etc/hosts");
            mounts.push(Mount { source: hosts, target, read_only: false });
        }
        Ok(mounts)
    }

    /// Where views are not to be had: links below the working directory.
    fn link_instead(&self, index: usize, mounts: &[Mount]) -> Result<(), String> {
        if mounts.is_empty() {
            return Ok(());
        }
        let root = self.root();
        // Every pod gets its account's files: whoever did not ask for them misses nothing.
        let spec = self.pod.spec.as_ref();
        let wants_token = spec.and_then(|spec| spec.automount_service_account_token) == Some(true);
        if wants_token || mounts.iter().any(|mount| mount.target != Path::new(ACCOUNT_FILES)) {
            let path = self.containers[index].path();
            let message = format!(
                "this machine gives programs no view of files of their own: volumes are below {} only (its working directory)",
                root.display()
            );
            self.say(&path, Level::Warning, "VolumesElsewhere", &message);
        }
        for mount in mounts {
            let relative = mount.target.strip_prefix("/").unwrap_or(&mount.target);
            let link = root.join(relative);
            let made = link.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
                let _was_not_there = std::fs::remove_file(&link);
                std::os::unix::fs::symlink(&mount.source, &link)
            });
            made.map_err(|error| format!("{}: {error}", link.display()))?;
        }
        Ok(())
    }

    /// A directory on which a root may be built for a container.
    fn scaffold(&self, index: usize) -> Result<PathBuf, String> {
        let dir = self.dir().join("views").join(&self.containers[index].spec.name);
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(dir)
    }

    /// A run has begun.
    pub(super) async fn begin(&mut self, task: TaskId, pid: u32) {
        let Some(index) = self.index_of(task) else { return };
        let now = self.shared.store.now();
        let container = &mut self.containers[index];
        container.state = State::Running { since: Some(now), began: Instant::now() };
        container.pid = Some(pid);
        container.begun = true;
        let (name, path) = (container.spec.name.clone(), container.path());
        let hook = container.spec.lifecycle.as_ref().and_then(|all| all.post_start.clone());
        self.say(&path, Level::Normal, "Started", &format!("Started container {name}"));
        self.show();
        match hook {
            None => self.watch_over(index),
            Some(hook) => {
                let call = self.hook_call(index);
                let sender = self.inbox_in.clone();
                let run = tokio::spawn(async move {
                    let result = hooks::run(&hook, &call).await;
                    let _pod_is_gone = sender.send(Message::PostStart { task, result }).await;
                });
                self.containers[index].helpers.push(run.abort_handle());
            }
        }
    }

    pub(super) async fn take_post_start(&mut self, task: TaskId, result: Result<(), String>) {
        let Some(index) = self.index_of(task) else { return };
        match result {
            Ok(()) => self.watch_over(index),
            Err(error) => {
                let path = self.containers[index].path();
                let message = format!("PostStartHook failed: {error}");
                self.say(&path, Level::Warning, "FailedPostStartHook", &message);
                self.stop_one(index, "FailedPostStartHook").await;
            }
        }
    }

    /// Begins to probe a container: until it has started, or whether it is ready and alive.
    fn watch_over(&mut self, index: usize) {
        let spec = Arc::clone(&self.containers[index].spec);
        match &spec.startup_probe {
            Some(probe) => self.probe(index, ProbeKind::Startup, probe),
            None => self.has_started(index),
        }
    }

    fn has_started(&mut self, index: usize) {
        let spec = Arc::clone(&self.containers[index].spec);
        let container = &mut self.containers[index];
        container.started = true;
        if container.role == Role::Init {
            return;
        }
        match &spec.readiness_probe {
            Some(probe) => self.probe(index, ProbeKind::Readiness, probe),
            None => self.containers[index].ready = true,
        }
        if let Some(probe) = &spec.liveness_probe {
            self.probe(index, ProbeKind::Liveness, probe);
        }
    }

    fn probe(&mut self, index: usize, kind: ProbeKind, probe: &k8s_openapi::api::core::v1::Probe) {
        let Some(task) = self.containers[index].task else { return };
        let call = self.hook_call(index);
        let second = self.shared.config.timing.probe_second;
        let watch = probe::watch(probe.clone(), kind, call, second, task, self.inbox_in.clone());
        let helper = tokio::spawn(watch);
        self.containers[index].helpers.push(helper.abort_handle());
    }

    pub(super) async fn take_probe(&mut self, task: TaskId, kind: ProbeKind, outcome: Outcome) {
        let Some(index) = self.index_of(task) else { return };
        let ending = self.containers[index].stopping.is_some();
        let path = self.containers[index].path();
        if let Outcome::Missed(message) | Outcome::Down(message) = &outcome
            && !(ending && kind != ProbeKind::Readiness)
        {
            let message = format!("{} probe failed: {message}", kind.name());
            self.say(&path, Level::Warning, "Unhealthy", &message);
        }
        match (kind, outcome) {
            (ProbeKind::Readiness, Outcome::Up) => self.containers[index].ready = true,
            (ProbeKind::Readiness, Outcome::Down(_)) => self.containers[index].ready = false,
            (ProbeKind::Startup, Outcome::Up) if !ending => self.has_started(index),
            (ProbeKind::Startup | ProbeKind::Liveness, Outcome::Down(_)) if !ending => {
                let name = &self.containers[index].spec.name;
                let what = kind.name().to_lowercase();
                let message = format!("Container {name} failed {what} probe, will be restarted");
                let own = match kind {
                    ProbeKind::Startup => &self.containers[index].spec.startup_probe,
                    _ => &self.containers[index].spec.liveness_probe,
                };
                let grace = own.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
                self.stop_for(index, grace, &message).await;
            }
            _ => {}
        }
    }

    /// What probes and hooks of a container's current run need to know.
    pub(super) fn hook_call(&self, index: usize) -> Call {
        let container = &self.containers[index];
        let views = self.view.borrow();
        let view = views.containers.get(&container.spec.name).cloned().unwrap_or_default();
        let declared = container.spec.ports.iter().flatten();
        Call {
            sandbox: self.sandbox.clone(),
            env: view.env,
            dir: view.dir,
            enter: self.shared.views.then_some(container.pid).flatten(),
            address: self.address.clone(),
            ports: declared.map(|port| (port.name.clone(), port.container_port)).collect(),
        }
    }

    /// Shows others how things stand.
    pub(super) fn show(&self) {
        self.view.send_if_modified(|view| {
            let mut changed = false;
            for container in &self.containers {
                let one = view.containers.entry(container.spec.name.clone()).or_default();
                let waits = match &container.state {
                    State::Waiting { reason, .. } => Some(reason.clone()),
                    _ => None,
                };
                changed |= one.pid != container.pid || one.waiting != waits;
                (one.pid, one.waiting) = (container.pid, waits);
            }
            let View { sandbox, address, .. } = view;
            let pid =
                |sandbox: &Option<crate::sandbox::Sandbox>| sandbox.as_ref().map(|one| one.pid());
            changed |=
                pid(sandbox) != pid(&self.sandbox) || address.is_some() != self.address.is_some();
            sandbox.clone_from(&self.sandbox);
            address.clone_from(&self.address);
            changed
        });
    }

    /// The end of a log, where the container asks for it as its termination message.
    pub(super) fn last_words(&self, index: usize) -> String {
        let container = &self.containers[index];
        let policy = container.spec.termination_message_policy.as_deref();
        if policy != Some("FallbackToLogsOnError") {
            return String::new();
        }
        let path = self.log_dir().join(&container.spec.name);
        let path = path.join(format!("{}.log", container.restarts));
        let lines = crate::logs::tail(&path, LAST_LINES, LAST_WORDS);
        lines.unwrap_or_default()
    }
}

/// Removes the log of an older run.
fn forget_run(dir: &std::path::Path, run: i32, files: usize) {
    if run >= 0 {
        let path = dir.join(format!("{run}.log"));
        for age in 0..files {
            let _was_not_there = std::fs::remove_file(crate::supervisor::logfile::aged(&path, age));
        }
    }
}

/// The program of an image as a path.
fn resolve(image: &Image) -> Result<PathBuf, String> {
    let program = &image.program;
    if program.components().count() > 1 || program.is_absolute() {
        return if program.is_file() {
            std::path::absolute(program).map_err(|error| error.to_string())
        } else {
            Err(format!(
                "the program of image {:?} is missing: {}",
                image.pattern,
                program.display()
            ))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            format!(
                "the program of image {:?} is not in PATH: {}",
                image.pattern,
                program.display()
            )
        })
}
