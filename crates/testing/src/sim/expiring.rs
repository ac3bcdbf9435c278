//! Holds that expire by themselves: engines look for them, and after all faults every one of them ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tollgate_domain::limits::HOLD_SECS_MAX;
use tollgate_engine::{Engine, EngineError};

use super::World;
use super::faults::Fault;
use super::store::SimStore;

impl World {
    /// An engine ends what has expired of the holds that it knows; now and then it looks for others first.
    pub(super) async fn expire_holds(&self) {
        let slot = self.any_slot();
        let Some(engine) = self.slots.get(slot).and_then(|slot| slot.engine()) else { return };
        let looks = self.sim.chance(3_000);
        let ended = self.sim.within(self.sim.millis(300, 3_000), expire(&engine, looks)).await;
        self.faults.count(Fault::TimedOut, u64::from(ended.is_none()));
    }

    /// Without faults, once the time of all holds is over, the engines end each of them, though nobody asks anything of its org.
    pub(super) async fn end_all_holds(&self, most: Duration) {
        let Some(latest) = self.log.latest_time() else { return };
        let over = latest + SignedDuration::from_secs(HOLD_SECS_MAX.into());
        for (number, slot) in self.slots.iter().enumerate() {
            slot.clock.set(over);
            self.log.clock_set(number, slot.clock.now());
        }
        for slot in &self.slots {
            let Some(engine) = slot.engine() else { continue };
            match self.sim.within(most, self.expire_until_done(&engine)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => self.log.wrong(format!("without faults no hold expires: {error:?}")),
                None => self.log.wrong(format!("without faults holds do not expire within {most:?}")),
            }
        }
    }

    /// An engine that has too much to do is asked again.
    async fn expire_until_done(&self, engine: &Arc<Engine<SimStore>>) -> Result<(), EngineError> {
        loop {
            match expire(engine, true).await {
                Err(EngineError::Overloaded | EngineError::Contended) => {
                    self.sim.sleep(Duration::from_millis(50)).await;
                }
                ended => return ended,
            }
        }
    }
}

/// Ends what has expired, of the holds that an engine knows or of all that there are.
async fn expire(engine: &Engine<SimStore>, of_all: bool) -> Result<(), EngineError> {
    if of_all {
        let mut next = engine.find_holds(None).await?;
        while let Some(from) = next {
            next = engine.find_holds(Some(&from)).await?;
        }
    }
    while engine.expire_holds().await? {}
    Ok(())
}
