//! `completions` and `man`: what shells and `man` want to know, made from the definitions in [`crate::args`].

use crate::args::{Arguments, CompletionsArguments, ManArguments};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::output;
use clap::CommandFactory;
use std::fs;

/// Prints a completion script.
pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "swarm", &mut script);
    output::result(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}

/// Writes `swarm.1` and one page for each subcommand.
pub(crate) fn man(arguments: &ManArguments) -> Result<Exit, Failure> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).or_exit_while(Exit::Disk, folder.display())?;
    clap_mangen::generate_to(Arguments::command(), folder).or_exit_while(Exit::Disk, folder.display())?;
    Ok(Exit::Done)
}
