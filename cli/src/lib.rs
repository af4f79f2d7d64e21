//! The command `swarm`: parses what was typed, calls the libraries, renders what they say.
//!
//! No logic that another program could want lives here. `args` holds what can be typed, `commands` what it means,
//! `render` how results look, `chat` how rooms do, `exit` how the process ends. It is a library for the fuzzers' sake
//! ([`hostile`]); the binary is [`main`].

mod address;
mod args;
mod chat;
mod commands;
mod exit;
pub mod hostile;
mod log;
mod render;
mod share_page;
mod signals;
mod state;
mod tokens;

use args::Arguments;
use clap::Parser;
use exit::{Exit, Failure, OrExit};
use std::process::ExitCode;

/// Does what the command line says, and tells how that ended.
pub fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            render::output::failure(&failure);
            failure.exit.into()
        }
    }
}

/// Runs the command on a runtime of its own. Work that was abandoned is not waited for.
fn run(arguments: Arguments) -> Result<Exit, Failure> {
    swarm_engine::disk::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().or_exit(Exit::Other)?;
    let outcome = runtime.block_on(async { commands::run(arguments, &mut signals::Stop::install()?).await });
    runtime.shutdown_background();
    outcome
}
