//! `image`: what the Dockerfile makes, on a machine without a Docker engine.
//!
//! The same steps: a static program with all features, alone with its data in a root folder that nothing can write to, run as
//! the user of the image. Then it is healthy, counts a usage, stops when it is told to, and knows the usage when it starts again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use crate::Result;
use crate::process::{build_published, output, root, run as run_command, say, target_folder};
use crate::started::Started;
use crate::tools::ensure;

/// The user and group of the image.
const USER: u32 = 65_532;

/// The most that the image may have; what it stands on has some two of it.
const BYTES_MAX: u64 = 38 * 1024 * 1024;

/// How long the server may take to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// What the server is started with besides what the Dockerfile says.
const KEY: (&str, &str) = ("TOLLGATE_API_KEY", "the-key-of-this-trial");

/// Builds what is in the image, and tries it.
pub(crate) fn run() -> Result<()> {
    ensure("musl-gcc", &["musl-tools"])?;
    ensure("unshare", &["util-linux"])?;
    let mut id = Command::new("id");
    id.arg("-u");
    if output(id)?.trim() != "0" {
        return Err("run this as root: it mounts a root folder that cannot be written to".into());
    }
    let (program, image) = (build()?, target_folder()?.join("image"));
    let bytes = fs::metadata(&program)?.len();
    if image.exists() {
        fs::remove_dir_all(&image)?;
    }
    fs::create_dir_all(image.join("data"))?;
    fs::copy(&program, image.join("tollgate"))?;
    chown(image.join("data"), Some(USER), Some(USER))?;
    try_out(&image)?;
    say("image: healthy, counts, stops in order and starts again")?;
    if bytes > BYTES_MAX {
        return Err(format!("the program has {bytes} bytes, and may have {BYTES_MAX}").into());
    }
    say(&format!("image: {bytes} bytes in {}", image.display()))
}

/// The static program.
fn build() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let mut add = Command::new("rustup");
    add.args(["target", "add", &target]).current_dir(root()?);
    run_command(add)?;
    build_published(Some(&target))
}

fn try_out(image: &Path) -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = serve(image, port)?;
    let refused = within(image, &["backup", "/anywhere", "--store", "embedded:/data"]).output()?;
    if refused.status.success() || !String::from_utf8_lossy(&refused.stderr).contains("Read-only") {
        return Err(format!("the root folder can be written to: {refused:?}").into());
    }
    let questions = [
        (&["health"][..], "healthy"),
        (&["plan", "set", "acme", "lite"], "lite"),
        (&["use", "acme", "--user", "ada", "--key", "one"], "19"),
    ];
    let asked = questions.iter().try_for_each(|(args, says)| ask(image, port, args, says));
    stop(&mut server)?;
    asked?;
    let mut server = serve(image, port)?;
    let asked = ask(image, port, &["balance", "acme"], "19");
    stop(&mut server)?;
    asked
}

/// A command in the image, by its user, with the root folder read-only but for the data. It has no other environment.
fn within(image: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let mount = "mount --bind \"$0\" \"$0\" && mount --bind \"$0/data\" \"$0/data\" && \
                 mount -o remount,bind,ro \"$0\" && exec chroot --userspec=65532:65532 \"$0\" /tollgate \"$@\"";
    command.args(["--mount", "sh", "-c", mount]).arg(image).args(args).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env(KEY.0, KEY.1);
    command
}

fn serve(image: &Path, port: u16) -> Result<Started> {
    let mut command = within(image, &["serve"]);
    command.env("TOLLGATE_LISTEN", format!("0.0.0.0:{port}")).env("TOLLGATE_STORE", "embedded:/data");
    Started::start(command, io::sink())
}

/// Asks the server with its own program, whose answer is to say something.
fn ask(image: &Path, port: u16, args: &[&str], says: &str) -> Result<()> {
    let mut command = within(image, args);
    command.env("TOLLGATE_URL", format!("http://127.0.0.1:{port}"));
    let said = output(command)?;
    if said.contains(says) {
        Ok(())
    } else {
        Err(format!("`tollgate {}` does not say {says}:\n{said}", args.join(" ")).into())
    }
}

/// Has the server end as an engine does.
fn stop(server: &mut Started) -> Result<()> {
    let mut kill = Command::new("kill");
    kill.arg(server.process.id().to_string());
    run_command(kill)?;
    let began = Instant::now();
    while began.elapsed() < STOPS_WITHIN {
        match server.process.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("the server did not end in order ({status})").into()),
            None => thread::park_timeout(LOOK),
        }
    }
    server.process.kill()?;
    Err(format!("the server did not end within {} s", STOPS_WITHIN.as_secs()).into())
}
