//! The binary `swarm`: the command with its allocator.

use std::process::ExitCode;

/// Not in the library: the fuzzers look after memory by themselves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    swarm::main()
}
