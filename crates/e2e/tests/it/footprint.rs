//! How little an idle server takes.

use tollgate_e2e::{Result, Tollgate, is_release_build};

/// The stated bound, of a release build.
const RELEASE_KIB_MAX: u64 = 30 * 1024;

/// The code alone of a debug build is several times larger.
const DEBUG_KIB_MAX: u64 = 72 * 1024;

const STARTS: usize = 5;

#[test]
fn an_idle_server_is_small_and_starts_fast() -> Result<()> {
    let _machine = super::alone();
    let (build, most) =
        if is_release_build()? { ("release", RELEASE_KIB_MAX) } else { ("debug", DEBUG_KIB_MAX) };
    let folder = tempfile::tempdir()?;
    let (mut firsts, mut agains, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..STARTS {
        let store = folder.path().join(format!("data-{number}"));
        for starts in [&mut firsts, &mut agains] {
            let server = Tollgate::serve(&store).start()?;
            starts.push(server.ready_after);
            resident.push(server.resident_kib()?);
            server.stop()?;
        }
    }
    firsts.sort_unstable();
    agains.sort_unstable();
    resident.sort_unstable();
    let largest = resident[resident.len() - 1];
    println!(
        "{build} build, idle: {} KiB resident at the median, {largest} KiB at most; ready after {} ms with a new store, {} ms \
         with one that is there",
        resident[resident.len() / 2],
        firsts[STARTS / 2].as_millis(),
        agains[STARTS / 2].as_millis(),
    );
    assert!(largest <= most, "an idle {build} build takes {largest} KiB, more than {most}");
    let start_secs_max = if is_release_build()? { 1 } else { 15 };
    assert!(agains[STARTS / 2].as_secs() < start_secs_max, "starting takes {agains:?}");
    Ok(())
}
