//! `swarm-sim`: runs a scenario of the simulated world and prints its figures.

mod table;
mod watched;
mod worlds;

use clap::Parser;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use swarm_proto::swarm::Profile;
use swarm_sim::scenarios::{self, Scenario, Settings};

/// A quarter faster than the allocator of the system, measured with 300 leechers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs a scenario of the simulated world and prints its figures.
#[derive(Parser, Debug)]
#[command(version, about, after_help = scenario_list())]
struct Arguments {
    /// Which scenario
    #[arg(required_unless_present = "table")]
    scenario: Option<String>,
    /// Leechers that come in the whole run
    #[arg(long)]
    peers: Option<usize>,
    /// Decides everything that is left to chance
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Runs once for each of these seeds
    #[arg(long, value_name = "A..B", value_parser = seed_range)]
    seeds: Option<Range<u64>>,
    /// MiB of the torrent
    #[arg(long)]
    size: Option<u64>,
    /// KiB of a piece
    #[arg(long)]
    piece: Option<u64>,
    /// Bytes a second that leave an ordinary host
    #[arg(long)]
    uplink: Option<u64>,
    /// Bytes a second that can come to an ordinary host
    #[arg(long)]
    downlink: Option<u64>,
    /// Milliseconds from one host to another
    #[arg(long)]
    latency: Option<u64>,
    /// Serve everybody at once, as `swarm --lan` does
    #[arg(long)]
    lan: bool,
    /// Print one JSON object a run
    #[arg(long)]
    json: bool,
    /// Draw the run: one HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write everything that happens: one JSON object a line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Worlds that `soak` runs at the same time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Run what docs/simulation.md lists, and print its table
    #[arg(long, conflicts_with_all = ["scenario", "json"])]
    table: bool,
}

fn scenario_list() -> String {
    let line = |scenario: &Scenario| format!("  {:<14}{}\n", scenario.name, scenario.about);
    let drawn = "  random        A world drawn from the seed, with everything checked that must hold in any\n  \
                 soak          One such world after the other, for each of the seeds\n";
    format!("Scenarios:\n{}{drawn}", scenarios::ALL.iter().map(line).collect::<String>())
}

fn seed_range(text: &str) -> Result<Range<u64>, String> {
    let bounds = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.filter(|range| !range.is_empty()).ok_or_else(|| "two numbers like 0..100".into())
}

impl Arguments {
    fn settings(&self, scenario: &Scenario, seed: u64) -> Settings {
        let mut settings = Settings::new(self.peers.unwrap_or(scenario.peers), seed);
        settings.bytes = self.size.map_or(settings.bytes, |size| size << 20);
        settings.piece_length = self.piece.map_or(settings.piece_length, |piece| piece << 10);
        settings.uplink = self.uplink.unwrap_or(settings.uplink);
        settings.downlink = self.downlink.unwrap_or(settings.downlink);
        settings.latency = self.latency.map_or(settings.latency, Duration::from_millis);
        settings.profile = if self.lan { Profile::Lan } else { Profile::Public };
        settings
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.table {
        table::print_all();
        return ExitCode::SUCCESS;
    }
    let name = arguments.scenario.as_deref().unwrap_or_default();
    match name {
        "random" => return worlds::random(&arguments),
        "soak" => return worlds::soak(&arguments),
        _ => {}
    }
    let Some(scenario) = scenarios::find(name) else {
        eprintln!("there is no scenario {name}\n\n{}", scenario_list());
        return ExitCode::from(2);
    };
    let seeds = arguments.seeds.clone().unwrap_or(arguments.seed..arguments.seed + 1);
    let mut runs = Vec::new();
    for seed in seeds {
        let settings = arguments.settings(scenario, seed);
        let measures = match watched::run(&arguments, scenario, &settings) {
            Ok(measures) => measures,
            Err(error) => return watched::failed(&error),
        };
        if arguments.json {
            println!("{}", table::json(scenario, &settings, &measures));
        } else {
            table::print_run(scenario, &settings, &measures);
        }
        runs.push(measures);
    }
    if runs.len() > 1 && !arguments.json {
        table::print_summary(&runs);
    }
    if runs.iter().all(|run| run.all_complete) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
