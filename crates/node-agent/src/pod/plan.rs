//! Which containers of a pod to start or stop next. Pure: states in, indices out.

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before what follows.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside what follows, and ends last.
    Sidecar,
    /// What the pod is for.
    Main,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has not run.
    Never,
    /// It has been started, or runs.
    Running,
    /// It ended, with this exit status.
    Ended(i32),
}

/// The pod's `restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// After every ending.
    Always,
    /// After an ending with another status than 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl Policy {
    /// Reads the field; `Always` where it is absent.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    /// Whether a main container that ended so starts again.
    pub(crate) fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// A container as the plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What it is.
    pub(crate) role: Role,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// Whether it ever ran.
    pub(crate) begun: bool,
    /// Whether its startup probe and hook have succeeded.
    pub(crate) started: bool,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Start these.
    pub(crate) start: Vec<usize>,
    /// Stop these.
    pub(crate) stop: Vec<usize>,
    /// All init containers are through.
    pub(crate) initialized: bool,
    /// Nothing will start again: the pod has succeeded or failed once nothing runs.
    pub(crate) over: bool,
}

/// What to do with containers, init containers first, that nobody wants to end.
pub(crate) fn plan(containers: &[Facts], policy: Policy) -> Plan {
    let mut plan = Plan { initialized: true, ..Plan::default() };
    let mains = || containers.iter().filter(|one| one.role == Role::Main);
    let mains_begun = mains().any(|one| one.begun);
    let is_last = |one: &Facts| matches!(one.stage, Stage::Ended(code) if !policy.restarts(code));
    plan.over = mains().all(is_last);
    for (index, one) in containers.iter().enumerate() {
        match (one.role, one.stage) {
            (Role::Main, _) => {}
            _ if plan.over => {}
            (Role::Sidecar, stage) => {
                if stage != Stage::Running {
                    plan.start.push(index);
                }
                if !one.started && !mains_begun {
                    plan.initialized = false;
                    break;
                }
            }
            (Role::Init, Stage::Ended(0)) => {}
            (Role::Init, _) if mains_begun => {}
            (Role::Init, stage) => {
                plan.initialized = false;
                match stage {
                    Stage::Ended(_) if policy == Policy::Never => plan.over = true,
                    Stage::Running => {}
                    _ => plan.start.push(index),
                }
                break;
            }
        }
    }
    if plan.over {
        plan.start.clear();
        plan.stop = stop(containers);
    } else if plan.initialized {
        let missing = containers.iter().enumerate().filter(|(_, one)| {
            one.role == Role::Main && one.stage != Stage::Running && !is_last(one)
        });
        plan.start.extend(missing.map(|(index, _)| index));
    }
    plan
}

/// Which to stop when all are to end: sidecars last, and in reverse.
pub(crate) fn stop(containers: &[Facts]) -> Vec<usize> {
    let running = |role_is: fn(Role) -> bool| {
        let all = containers.iter().enumerate();
        all.filter(move |(_, one)| one.stage == Stage::Running && role_is(one.role))
            .map(|(index, _)| index)
    };
    let first: Vec<usize> = running(|role| role != Role::Sidecar).collect();
    if first.is_empty() {
        running(|role| role == Role::Sidecar).next_back().into_iter().collect()
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(role: Role, stage: Stage) -> Facts {
        let begun = stage != Stage::Never;
        Facts { role, stage, begun, started: stage == Stage::Running }
    }

    #[test]
    fn init_containers_run_one_after_another_before_the_rest() {
        use Role::{Init, Main};
        let pod = |first, second, main| {
            let all = [one(Init, first), one(Init, second), one(Main, main)];
            plan(&all, Policy::Always).start
        };
        assert_eq!(pod(Stage::Never, Stage::Never, Stage::Never), [0]);
        assert_eq!(pod(Stage::Running, Stage::Never, Stage::Never), [0; 0]);
        assert_eq!(pod(Stage::Ended(0), Stage::Never, Stage::Never), [1]);
        assert_eq!(pod(Stage::Ended(0), Stage::Ended(1), Stage::Never), [1]);
        assert_eq!(pod(Stage::Ended(0), Stage::Ended(0), Stage::Never), [2]);
        assert_eq!(pod(Stage::Ended(0), Stage::Ended(0), Stage::Ended(0)), [2]);
    }

    #[test]
    fn a_failed_init_container_that_may_not_restart_fails_the_pod() {
        let all = [one(Role::Init, Stage::Ended(1)), one(Role::Main, Stage::Never)];
        let plan = plan(&all, Policy::Never);
        assert!(plan.over && plan.start.is_empty());
    }

    #[test]
    fn a_sidecar_holds_back_the_rest_until_it_has_started() {
        let mut all = [one(Role::Sidecar, Stage::Running), one(Role::Main, Stage::Never)];
        all[0].started = false;
        assert_eq!(plan(&all, Policy::Never).start, [0; 0]);
        all[0].started = true;
        assert_eq!(plan(&all, Policy::Never).start, [1]);
    }

    #[test]
    fn sidecars_restart_whatever_the_policy_and_end_after_the_rest() {
        let sidecar = |stage| [one(Role::Sidecar, stage), one(Role::Main, Stage::Running)];
        assert_eq!(plan(&sidecar(Stage::Ended(0)), Policy::Never).start, [0]);
        let mut all = sidecar(Stage::Running);
        assert_eq!(stop(&all), [1]);
        all[1].stage = Stage::Ended(0);
        let plan = plan(&all, Policy::Never);
        assert!(plan.over);
        assert_eq!(plan.stop, [0]);
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let role = prop_oneof![Just(Role::Init), Just(Role::Sidecar)];
        let stage =
            prop_oneof![Just(Stage::Never), Just(Stage::Running), (0..2).prop_map(Stage::Ended)];
        (role, stage, any::<bool>()).prop_map(|(role, stage, started)| {
            let begun = stage != Stage::Never;
            Facts { role, stage, begun, started: begun && started }
        })
    }

    proptest! {
        #[test]
        fn never_starts_what_runs_nor_stops_what_does_not(
            init in prop::collection::vec(facts(), 0..4),
            mains in prop::collection::vec(facts(), 1..3),
        ) {
            let mains = mains.into_iter().map(|one| Facts { role: Role::Main, ..one });
            let all: Vec<Facts> = init.into_iter().chain(mains).collect();
            for policy in [Policy::Always, Policy::OnFailure, Policy::Never] {
                let plan = plan(&all, policy);
                prop_assert!(plan.start.iter().all(|i| all[*i].stage != Stage::Running));
                prop_assert!(plan.stop.iter().all(|i| all[*i].stage == Stage::Running));
                let busy = all.iter().any(|one| one.stage == Stage::Running);
                prop_assert!(busy || plan.over || !plan.start.is_empty(), "stuck");
            }
        }
    }
}
