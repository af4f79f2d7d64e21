//! Becoming somebody who may do less, once the sockets are open.

use crate::exit::{Exit, Failure};
use nix::errno::Errno;
use nix::unistd::{Uid, User, setgid, setgroups, setuid};

/// Finds a user by name.
///
/// # Errors
/// There is none, or nobody can tell.
pub(super) fn find(name: &str) -> Result<User, Failure> {
    let found = User::from_name(name).map_err(|error| failed(name, "looking it up", error))?;
    found.ok_or_else(|| Failure::new(Exit::Usage, format!("there is no user '{name}'")))
}

/// Becomes this user, for good, with its group alone.
///
/// # Errors
/// We may not become it.
pub(super) fn drop_to(user: &User) -> Result<(), Failure> {
    // The groups first: afterwards we may not any more.
    setgroups(&[user.gid]).map_err(|error| failed(&user.name, "leaving groups", error))?;
    setgid(user.gid).map_err(|error| failed(&user.name, "taking its group", error))?;
    setuid(user.uid).map_err(|error| failed(&user.name, "taking its id", error))?;
    if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(Failure::new(Exit::Other, format!("became user '{}', and could become root again", user.name)));
    }
    tracing::info!(user = user.name, "privileges dropped");
    Ok(())
}

fn failed(name: &str, what: &str, error: Errno) -> Failure {
    let advice = if error == Errno::EPERM { "; only root can" } else { "" };
    Failure::new(Exit::Other, format!("cannot become user '{name}' ({what}): {}{advice}", error.desc()))
}
