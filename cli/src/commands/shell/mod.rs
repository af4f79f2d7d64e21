//! `shell`: the commands of a native tracker, one after the other, while transfers go on.
//!
//! From a terminal it ends with 0 whatever was refused meanwhile, for that was told. From a pipe it ends when all lines are done
//! and everything has been fetched, and with the code of the last thing that failed.

mod command;
mod terminal;
mod transfers;

use super::catalogue;
use crate::args::tracker::ShellArguments;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::text;
use crate::signals::Stop;
use anyhow::Context;
use command::{HELP, ShellCommand};
use std::io::{IsTerminal, stdin};
use std::path::Path;
use swarm_engine::tracker::native;
use swarm_proto::native::{ListQuery, Name, NativeUrl};
use terminal::{KnownNames, Printer};
use transfers::Transfers;

/// Rows of a list at most; more are asked for by a longer prefix.
const ROWS: usize = 1_000;

/// What comes of a line.
enum After {
    Continue,
    Close,
}

/// One tracker, and what is done with it.
struct Shell<'a> {
    arguments: &'a ShellArguments,
    printer: Printer,
    names: KnownNames,
    transfers: Transfers,
}

/// Runs until the user, the input or the tracker ends it.
pub(crate) async fn run(arguments: &ShellArguments, stop: &mut Stop) -> Result<Exit, Failure> {
    let names = KnownNames::default();
    // Says at once that there is no tracker, and what completion may offer.
    let first = native::list(&arguments.tracker, ListQuery::default()).await;
    let (entries, _) = first.map_err(|error| catalogue::failed(&arguments.tracker, error))?;
    entries.iter().for_each(|entry| names.add(entry.name.as_str()));
    let at_terminal = stdin().is_terminal();
    let (mut lines, printer) = terminal::open(&names)?;
    let transfers = Transfers::new(arguments, printer.clone());
    let mut shell = Shell { arguments, printer, names, transfers };
    let mut outcome = Exit::Done;
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = stop.requested() => break,
        };
        let Some(line) = line else {
            outcome = shell.transfers.wait(stop).await.unwrap_or(outcome);
            break;
        };
        let command = ShellCommand::parse(&line);
        let may_end = command.may_end();
        match shell.execute(command, stop).await {
            Ok(After::Continue) => {}
            Ok(After::Close) => break,
            Err(failure) => {
                shell.printer.complain(&failure);
                outcome = failure.exit;
            }
        }
        if may_end {
            lines.go_on();
        }
    }
    shell.transfers.end().await;
    Ok(if at_terminal { Exit::Done } else { outcome })
}

impl Shell<'_> {
    async fn execute(&mut self, command: ShellCommand, stop: &mut Stop) -> Result<After, Failure> {
        match command {
            ShellCommand::Nothing => {}
            ShellCommand::Help => self.printer.print(HELP)?,
            ShellCommand::List(prefix) => self.list(ListQuery { prefix, ..ListQuery::default() }).await?,
            ShellCommand::Search(contains) => self.list(ListQuery { contains, ..ListQuery::default() }).await?,
            ShellCommand::Peers(name) => self.peers(name).await?,
            ShellCommand::Update(path) => self.update(Path::new(&path), stop).await?,
            ShellCommand::Delete(name) => self.delete(&name).await?,
            ShellCommand::Get(name) => self.transfers.get(&self.entry(&name)?).await?,
            ShellCommand::Transfers => self.transfers.show()?,
            ShellCommand::Shutdown(file) => return self.shut_down(file).await,
            ShellCommand::Close => return Ok(After::Close),
            ShellCommand::Wrong(why) => return Err(Failure::new(Exit::Usage, text::printable(&why))),
        }
        Ok(After::Continue)
    }

    /// An entry of this tracker's catalogue.
    fn entry(&self, name: &str) -> Result<NativeUrl, Failure> {
        let name = Name::new(name).or_exit_while(Exit::Usage, text::printable(name))?;
        Ok(NativeUrl { name: Some(name), ..self.arguments.tracker.clone() })
    }

    async fn list(&self, query: ListQuery) -> Result<(), Failure> {
        let told = |error| catalogue::failed(&self.arguments.tracker, error);
        let mut listing = native::Listing::open(&self.arguments.tracker, query).await.map_err(told)?;
        let mut shown = 0;
        while let Some(entries) = listing.next().await.map_err(told)? {
            for entry in &entries {
                if shown == ROWS {
                    return self.printer.print(&format!("... there are more than {ROWS}"));
                }
                self.names.add(entry.name.as_str());
                self.printer.print(&catalogue::row(entry))?;
                shown += 1;
            }
        }
        self.printer.print(&text::count(shown as u64, "name"))
    }

    async fn peers(&self, name: Option<String>) -> Result<(), Failure> {
        let target = match name {
            Some(name) => self.entry(&name)?,
            None => self.arguments.tracker.clone(),
        };
        let list = catalogue::peers_of(&target).await?;
        for address in list.peers {
            self.printer.print(&address.to_string())?;
        }
        self.printer.print(&catalogue::counts(list.complete, list.incomplete))
    }

    async fn update(&mut self, path: &Path, stop: &mut Stop) -> Result<(), Failure> {
        let metainfo = transfers::describe(path, &self.arguments.tracker, stop).await?;
        let entry = self.entry(metainfo.name())?;
        catalogue::publish_as(&entry, metainfo.bytes().clone()).await?;
        self.names.add(metainfo.name());
        self.printer.print(&format!("published {entry}"))?;
        self.transfers.serve(&entry, metainfo, path).await
    }

    async fn delete(&mut self, name: &str) -> Result<(), Failure> {
        let entry = self.entry(name)?;
        catalogue::take_back(&entry).await?;
        self.transfers.stop_serving(&entry);
        self.printer.print(&format!("deleted {entry}"))
    }

    async fn shut_down(&self, file: Option<String>) -> Result<After, Failure> {
        let file = file.map(Into::into).or_else(|| self.arguments.admin_token_file.clone());
        let missing = || Failure::new(Exit::Usage, "which token? Write 'shutdown FILE', or give --admin-token-file");
        let file = file.ok_or_else(missing)?;
        let token =
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display())).or_exit(Exit::Disk)?;
        let tracker = &self.arguments.tracker;
        native::shut_down(tracker, token.trim_ascii()).await.map_err(|error| catalogue::failed(tracker, error))?;
        self.printer.print("the tracker closes")?;
        Ok(After::Close)
    }
}
