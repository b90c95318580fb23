//! What can be typed.

use clap::{Args, Parser, Subcommand};
use course::TaskId;

/// The course's one command line. Without a command: where you are, and what is next.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", subcommand_required = false)]
#[command(after_help = "Examples:
  cargo xtask                    the course map
  cargo xtask lab 1              build, run and grade what you wrote in labs/01-triage
  cargo xtask lab 1 --watch      the same, again after every save
  cargo xtask lab 1 hint 1.2     the next hint for a task
  cargo xtask load --rate 10 -n 200
                                 load on a server, and the latencies that its users see
  cargo xtask cluster up         a cluster of this machine's own, in under a second
  cargo xtask book --open        read the course
  cargo xtask doctor             what this machine lacks

Exit status: 0 passed, 1 something is left to do, 2 trouble that is not your code's.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Grade a lab; or show a hint, the solution, or go back to the starter
    Lab(LabArgs),
    /// Say what this machine lacks, each with the command that mends it
    Doctor {
        /// For a cluster: embedded, kind, or a context of your kubeconfig
        #[arg(long, value_name = "CLUSTER")]
        on: Option<String>,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Fetch and list the course's models, and measure how fast they are here
    #[command(subcommand)]
    Model(ModelCommand),
    /// Put load on a server, and see what its users would see (`cargo xtask load --help`)
    #[command(disable_help_flag = true)]
    Load {
        /// Handed to the load generator as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Serve the course's book on this machine
    Book {
        /// Open it in the browser
        #[arg(long)]
        open: bool,
        /// Port; 0 takes any free one
        #[arg(long, default_value_t = 3000)]
        port: u16,
    },
    /// Measure the course's programs beside their peers: engine, loadgen, simulation
    #[command(disable_help_flag = true)]
    Bench {
        /// See `cargo xtask bench --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Serve requests on devices that are not here, in virtual time (see `simulate --help`)
    #[command(disable_help_flag = true)]
    Simulate {
        /// Whose program: lab 1's engine, or lab 2's fleet behind each of its policies
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2))]
        lab: u32,
        /// The reference's scheduler, pool and roofline instead of yours
        #[arg(long)]
        solution: bool,
        /// What the simulator is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Bring a cluster up or down, or say how it is (`cargo xtask cluster --help`)
    #[command(disable_help_flag = true)]
    Cluster {
        /// See `cargo xtask cluster --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Inject a fault into a cluster, list or clear them (`cargo xtask fault --help`)
    #[command(disable_help_flag = true)]
    Fault {
        /// See `cargo xtask fault --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Hold a cluster against Kubernetes: named behaviours, on any kubeconfig (`cargo xtask conform --help`)
    #[command(disable_help_flag = true)]
    Conform {
        /// See `cargo xtask conform --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Everything that CI runs
    Test(TestArgs),
    /// For maintainers: regenerate the starters, prove the checks (`cargo xtask author --help`)
    #[command(disable_help_flag = true)]
    Author {
        /// See `cargo xtask author --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  cargo xtask lab 1                    grade all tasks
  cargo xtask lab 1 --task 1.3         grade one task, with those it needs
  cargo xtask lab 1 --offline          live checks on a tiny random model: no download
  cargo xtask lab 1 --solution         grade the reference
  cargo xtask lab 1 --on embedded      live checks on a cluster: engines are Deployments there
  cargo xtask lab 1 hint               the next hint for the task you are at
  cargo xtask lab 1 reset 1.3          back to the starter; your file is kept in .lab/backups
  cargo xtask lab 1 solution 1.3       the reference, and what it changes in yours")]
pub(crate) struct LabArgs {
    /// Number of the lab
    pub(crate) number: u32,
    #[command(flatten)]
    pub(crate) grade: GradeArgs,
    #[command(subcommand)]
    pub(crate) action: Option<LabAction>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct GradeArgs {
    /// Grade again after every save; Ctrl-C ends it
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
    /// Grade the reference solution instead of your code
    #[arg(long)]
    pub(crate) solution: bool,
    /// One JSON object on standard output and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Live checks on a tiny random model, without any download
    #[arg(long)]
    pub(crate) offline: bool,
    /// Run live checks on a cluster: embedded, kind, or a context of your kubeconfig. A lab may have a default
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) on: Option<String>,
    /// Run live checks again, even those that passed and to which nothing has changed since
    #[arg(long)]
    pub(crate) fresh: bool,
    /// What checks draw their random numbers from
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// One task, with those it needs
    #[arg(long)]
    pub(crate) task: Option<TaskId>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LabAction {
    /// Show the next of a task's three hints
    Hint {
        /// 1.3; by default the first task that is not solved
        task: Option<TaskId>,
    },
    /// Bring back the starter's version; yours is kept in .lab/backups
    Reset {
        /// 1.3; by default the whole lab
        task: Option<TaskId>,
    },
    /// Show the reference, and what it changes in your code
    Solution {
        /// 1.3
        task: TaskId,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ModelCommand {
    /// Fetch a model, check its sum, keep it
    Pull {
        /// Which; by default the one that the labs use
        name: Option<String>,
    },
    /// List the models, and which of them are here
    List,
    /// Print the path of a model's file
    Path {
        /// Which; by default the one that the labs use
        name: Option<String>,
    },
    /// Measure this machine with the model of the labs, so that it can be simulated as the device `cpu`
    Calibrate {
        /// Threads of the model; by default one a core
        #[arg(long)]
        threads: Option<std::num::NonZeroUsize>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only these steps (see --list)
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// List the steps and end
    #[arg(long)]
    pub(crate) list: bool,
}
