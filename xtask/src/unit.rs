//! The unit of systemd, read by systemd itself.

use std::fs;
use std::process::Command;

use crate::Result;
use crate::process::{output, root, run as run_command, say, target_folder};
use crate::tools::find;

/// How exposed the service may be on the scale of `systemd-analyze security`, from 0 to 100.
const EXPOSURE_MAX: &str = "20";

/// Verifies the unit that is installed by hand.
pub(crate) fn check() -> Result<()> {
    verify(&fs::read_to_string(root()?.join("deploy/systemd/tollgate.service"))?)
}

/// Verifies a unit, and that it shuts the server off from what it does not need. Where there is no systemd it says so.
pub(crate) fn verify(unit: &str) -> Result<()> {
    let Some(analyze) = find("systemd-analyze") else {
        return say(
            "unit: not verified, because this machine has no `systemd-analyze`; Debian's package `systemd` has it",
        );
    };
    // systemd looks whether the program is there, and the server need not be installed.
    let program = std::env::current_exe()?.display().to_string();
    let folder = target_folder()?.join("unit");
    fs::create_dir_all(&folder)?;
    let file = folder.join("tollgate.service");
    fs::write(&file, starting(unit, &program).ok_or("the unit starts no program")?)?;
    let mut verify = Command::new(&analyze);
    verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&file);
    run_command(verify).map_err(|error| format!("unit: {error}"))?;
    let mut security = Command::new(&analyze);
    security.args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE_MAX]).arg(&file);
    output(security)
        .map(drop)
        .map_err(|error| format!("unit: more exposed than {EXPOSURE_MAX}: {error}").into())
}

/// A unit that starts another program with the same arguments.
fn starting(unit: &str, program: &str) -> Option<String> {
    let (before, rest) = unit.split_once("\nExecStart=")?;
    let (_, arguments) = rest.split_once(' ')?;
    Some(format!("{before}\nExecStart={program} {arguments}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = include_str!("../../deploy/systemd/tollgate.service");

    #[test]
    fn the_program_is_replaced_and_nothing_else() {
        let replaced = starting(UNIT, "/bin/true").expect("it starts a program");
        assert!(replaced.contains("\nExecStart=/bin/true serve\n"), "{replaced}");
        assert_eq!(replaced.replace("/bin/true", "/usr/local/bin/tollgate"), UNIT);
        assert_eq!(starting("[Unit]\n", "/bin/true"), None);
    }

    #[test]
    fn what_systemd_does_not_know_is_refused_where_there_is_systemd() {
        verify(UNIT).expect("the unit is fine");
        for (right, wrong) in [
            ("ProtectClock=yes", "ProtectClok=yes"),
            ("RestartSec=2", "RestartSec=soon"),
            // Far more exposed.
            ("CapabilityBoundingSet=", "# CapabilityBoundingSet="),
        ] {
            let changed = UNIT.replace(right, wrong);
            assert_ne!(changed, UNIT);
            assert_eq!(verify(&changed).is_err(), find("systemd-analyze").is_some(), "{wrong}");
        }
    }
}
