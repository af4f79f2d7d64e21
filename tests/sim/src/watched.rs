//! Runs that are drawn or written down.

use crate::Arguments;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use swarm_sim::scenarios::{Scenario, Settings};
use swarm_sim::trace::{self, About, Lines, Trace};
use swarm_sim::{Measures, Observation, World, fluid_limit_of, report};

/// The lines of a trace on their way to a file.
pub(crate) type TraceFile = Lines<BufWriter<File>>;

/// Runs a scenario, with a report and a trace if they are wanted.
pub(crate) fn run(arguments: &Arguments, scenario: &Scenario, settings: &Settings) -> io::Result<Measures> {
    if arguments.report.is_none() && arguments.trace.is_none() {
        return Ok(scenario.run(settings).1);
    }
    let (mut world, lines) = listened(arguments, (scenario.build)(settings))?;
    let drawn = trace::run(&mut world, scenario.limit, |last| about(scenario, settings, last));
    let measures = Measures::of(&world, Duration::ZERO);
    drop(world);
    finish(arguments, &drawn, lines)?;
    Ok(measures)
}

/// The world with somebody who writes down what happens in it, if that is wanted.
pub(crate) fn listened(arguments: &Arguments, world: World) -> io::Result<(World, Option<TraceFile>)> {
    let Some(path) = &arguments.trace else { return Ok((world, None)) };
    let lines = Lines::new(BufWriter::new(File::create(path).map_err(|error| named(path, &error))?));
    Ok((world.with_recorder(lines.listener()), Some(lines)))
}

/// Writes what is wanted. The world must be gone.
pub(crate) fn finish(arguments: &Arguments, drawn: &Trace, lines: Option<TraceFile>) -> io::Result<()> {
    if let (Some(lines), Some(path)) = (lines, &arguments.trace) {
        lines.finish().map_err(|error| named(path, &error))?;
    }
    if let Some(path) = &arguments.report {
        fs::write(path, report::page(drawn)).map_err(|error| named(path, &error))?;
    }
    Ok(())
}

/// Says what failed.
pub(crate) fn failed(error: &dyn Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn about(scenario: &Scenario, settings: &Settings, last: &Observation) -> About {
    let limit = fluid_limit_of(last, settings.bytes);
    let (profile, lan) = match settings.profile {
        swarm_proto::swarm::Profile::Public => ("public", ""),
        swarm_proto::swarm::Profile::Lan => ("lan", " --lan"),
    };
    About {
        title: format!("{}, {} leechers", scenario.name, settings.peers),
        summary: scenario.about.to_owned(),
        seed: settings.seed,
        command: format!(
            "cargo run --release -p swarm-sim -- {} --peers {} --seed {} --size {} --piece {} --uplink {} --downlink {} \
             --latency {}{lan} --report report.html",
            scenario.name,
            settings.peers,
            settings.seed,
            settings.bytes >> 20,
            settings.piece_length >> 10,
            settings.uplink,
            settings.downlink,
            settings.latency.as_millis(),
        ),
        settings: vec![
            ("profile".into(), profile.into()),
            ("latency".into(), format!("{} ms", settings.latency.as_millis())),
        ],
        limit: Some(limit).filter(|limit| limit.is_finite() && *limit > 0.0).map(Duration::from_secs_f64),
        total_bytes: settings.bytes,
        piece_length: settings.piece_length,
    }
}
