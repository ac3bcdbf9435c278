//! The orgs in memory: found by one look-up a turn, saved in the order in which they changed, and let go of, those first that
//! were not used for a while, when there are too many.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tollgate_domain::{Distance, OrgId, OrgState, PartKey, Partition};
use tollgate_storage::Image;

use crate::Pace;
use crate::limits::{ORG_WEIGHT_PARTS, SAVED_AT_ONCE_MAX, SAVED_IN_NEED_MAX, TRIM_LOOKS_MAX};
use crate::loading::Lacking;
use crate::noted::Noted;
use crate::queue::Asked;

/// An org in memory.
#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) state: OrgState,
    /// The version of the image that its parts are loaded from.
    pub(crate) image: u64,
    /// Whether it was opened by all of its entries: a part that it lacks does not exist, unless it was let go of.
    pub(crate) whole: bool,
    /// Which of the appends of this turn is its, if there is one.
    pub(crate) append: Option<usize>,
    /// Whether its facts are to be forgotten once the store knows them.
    touched: bool,
    /// Whether it is known that its image lacks entries.
    unsaved: bool,
    /// Whether its image lacks entries that it was opened by: nobody noted what they changed.
    lagged: bool,
    /// Whether it was asked for since it was last passed over.
    used: bool,
    /// How many parts of it are counted.
    counted: usize,
}

impl Resident {
    /// Parts of it that are to be loaded from its image of a version.
    pub(crate) fn lacking(&self, image: u64, keys: Vec<PartKey>) -> Lacking {
        Lacking { org: self.state.id().clone(), image, whole: self.whole, keys }
    }
}

/// Where an org is in memory, until it is forgotten: for the length of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(usize);

/// The orgs in memory.
#[derive(Debug)]
pub(crate) struct Residents {
    pace: Pace,
    places: HashMap<OrgId, Place, RandomState>,
    /// By place. Boxed, so that little is moved when there is one more.
    orgs: Vec<Option<Box<Resident>>>,
    /// Places without an org.
    free: Vec<Place>,
    /// Where orgs were decided on of which the store may not know everything yet: these stay in memory.
    touched: Vec<Place>,
    /// The place that is looked at next when there are too many.
    hand: usize,
    /// How many orgs should have been saved since some were.
    owed: usize,
    /// How many parts are in memory, large ones counted as several.
    parts: usize,
    /// Whether there were too many after the last look for some to let go of: most have images that lack entries.
    is_crowded: bool,
    unsaved: Unsaved,
    /// The orgs whose images are on their way to the store, and the versions of those.
    saving: HashMap<OrgId, u64, RandomState>,
}

/// Which orgs have images that lack entries.
#[derive(Debug, Default)]
struct Unsaved {
    orgs: HashSet<OrgId, RandomState>,
    /// In the order of the entries that their images lack first, with the positions of those and how many entries had been
    /// appended before. One that was saved out of turn is passed over.
    queue: VecDeque<(u64, u64, OrgId)>,
    /// Those that could not be opened to be saved, and how many entries had been appended when that was last tried.
    stuck: Vec<OrgId>,
    stuck_since: u64,
    /// Those of which more changed than usage, which lists of orgs show.
    urgent: Noted,
    /// Those of which it changed what is unsent.
    unsent: Noted,
    /// Entries appended so far.
    entries: u64,
}

/// Images to keep, and up to where images are whole then.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) images: Arc<[Image]>,
    pub(crate) whole_until: u64,
}

impl Residents {
    /// None yet.
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            places: HashMap::default(),
            orgs: Vec::new(),
            free: Vec::new(),
            touched: Vec::new(),
            hand: 0,
            owed: 0,
            parts: 0,
            is_crowded: false,
            unsaved: Unsaved::default(),
            saving: HashMap::default(),
        }
    }

    /// Where an org is, if it is in memory.
    pub(crate) fn place(&self, org: &OrgId) -> Option<Place> {
        self.places.get(org).copied()
    }

    /// The org at a place, unless it was forgotten.
    pub(crate) fn at(&mut self, place: Place) -> Option<&mut Resident> {
        let resident = self.orgs.get_mut(place.0)?.as_deref_mut()?;
        resident.used = true;
        Some(resident)
    }

    /// Notes that an org is decided on.
    pub(crate) fn touch(&mut self, place: Place) {
        if let Some(Some(resident)) = self.orgs.get_mut(place.0)
            && !std::mem::replace(&mut resident.touched, true)
        {
            self.touched.push(place);
        }
    }

    /// Forgets the facts of the orgs that were decided on: the store knows them. Also those that a denial asked for: each of
    /// its keys may be new.
    pub(crate) fn forget_facts(&mut self) {
        for place in self.touched.drain(..) {
            if let Some(Some(resident)) = self.orgs.get_mut(place.0) {
                resident.state.forget_facts();
                resident.touched = false;
            }
        }
    }

    /// Forgets the orgs that were decided on: the store did not take what was decided.
    pub(crate) fn forget_touched(&mut self) {
        std::mem::take(&mut self.touched).into_iter().for_each(|place| self.forget_at(place));
    }

    /// Reads what some requests will read of their orgs, each at its place. Where there are many orgs they lie in no cache:
    /// memory sends many at once that are asked for together, and one after the other to decisions that are made one after
    /// the other.
    pub(crate) fn warm(&self, requests: &[Asked<'_>], places: &[Place]) {
        let mut read = 0;
        for distance in Distance::ALL {
            for (Asked { command, .. }, place) in requests.iter().zip(places) {
                let Some(Some(resident)) = self.orgs.get(place.0) else { continue };
                read ^= resident.state.warm(command, distance) ^ u64::from(resident.touched);
            }
        }
        // What came of it is nothing, so that it must be said to be wanted.
        std::hint::black_box(read);
    }

    /// Takes an org that was opened and is not in memory, with the version of its image.
    pub(crate) fn insert(&mut self, state: OrgState, image: u64) -> Place {
        let id = state.id().clone();
        if state.is_changed() && self.unsaved.orgs.insert(id.clone()) {
            // Its image lacks entries of nobody knows when.
            self.unsaved.queue.push_front((0, 0, id.clone()));
        }
        let (lagged, unsaved) = (state.is_changed(), self.unsaved.orgs.contains(&id));
        let place = self.free.pop().unwrap_or_else(|| {
            self.orgs.push(None);
            Place(self.orgs.len() - 1)
        });
        if let Some(free) = self.orgs.get_mut(place.0) {
            *free = Some(Box::new(Resident {
                state,
                image,
                whole: image == 0,
                append: None,
                touched: false,
                unsaved,
                lagged,
                used: true,
                counted: 0,
            }));
        }
        self.places.insert(id, place);
        self.count(place);
        place
    }

    /// Counts the parts of an org anew.
    pub(crate) fn count(&mut self, place: Place) {
        if let Some(Some(resident)) = self.orgs.get_mut(place.0) {
            let parts = resident.state.weight() + ORG_WEIGHT_PARTS;
            self.parts = self.parts - resident.counted + parts;
            resident.counted = parts;
        }
    }

    /// Forgets an org: what is in memory of it is not, or no more, what is in the store.
    pub(crate) fn forget(&mut self, org: &OrgId) {
        if let Some(place) = self.place(org) {
            self.forget_at(place);
        }
    }

    /// Takes an org out, as it is in the store, with the version of its image. One whose image is on its way is forgotten: what it changes
    /// while it is gone would not be told from what is in that image.
    pub(crate) fn take(&mut self, place: Place) -> Option<(OrgState, u64)> {
        let resident = self.orgs.get_mut(place.0).and_then(Option::take)?;
        let is_saving = self.saving.contains_key(resident.state.id());
        self.places.remove(resident.state.id());
        self.saving.remove(resident.state.id());
        self.parts -= resident.counted;
        self.free.push(place);
        (!is_saving).then_some((resident.state, resident.image))
    }

    /// Forgets the org at a place, if there is one.
    pub(crate) fn forget_at(&mut self, place: Place) {
        drop(self.take(place));
    }

    /// Notes that the image of an org lacks entries from a position on.
    pub(crate) fn changed(&mut self, place: Place, position: u64) {
        let Some(Some(resident)) = self.orgs.get_mut(place.0) else { return };
        if !std::mem::replace(&mut resident.unsaved, true) {
            let org = resident.state.id();
            if self.unsaved.orgs.insert(org.clone()) {
                self.unsaved.queue.push_back((position, self.unsaved.entries, org.clone()));
            }
        }
    }

    /// Counts the entries of a turn.
    pub(crate) fn count_entries(&mut self, entries: usize) {
        self.unsaved.entries += u64::try_from(entries).unwrap_or_default();
    }

    /// Notes that an org is to be saved soon if its image lacks many entries: another process that opens it reads them all.
    pub(crate) fn note_lag(&mut self, place: Place, most: usize) {
        let Some(Some(resident)) = self.orgs.get(place.0) else { return };
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        if resident.unsaved && resident.state.version().saturating_sub(resident.image) > most {
            let org = resident.state.id().clone();
            self.note_urgent(&org);
        }
    }

    /// Notes that more changed of an org than usage.
    pub(crate) fn note_urgent(&mut self, org: &OrgId) {
        self.unsaved.urgent.note(org);
    }

    /// Notes that it changed what is unsent of an org.
    pub(crate) fn note_unsent(&mut self, org: &OrgId) {
        self.unsaved.unsent.note(org);
    }

    /// How many notes of more than usage there were.
    pub(crate) const fn urgent_notes(&self) -> u64 {
        self.unsaved.urgent.notes()
    }

    /// How many notes of what is unsent there were.
    pub(crate) const fn unsent_notes(&self) -> u64 {
        self.unsaved.unsent.notes()
    }

    /// Notes that the image of an org lacks entries; nobody knows what they changed.
    pub(crate) fn note_behind(&mut self, org: &OrgId) {
        if self.unsaved.orgs.insert(org.clone()) {
            self.unsaved.queue.push_front((0, 0, org.clone()));
        }
        self.note_urgent(org);
        self.note_unsent(org);
    }

    /// Notes that the image of an org lacks entries up to a version. If it is older than that in memory it is forgotten; and if it is
    /// not, and all that its image lacks was appended here, then it is noted what that changed.
    pub(crate) fn note_lagging(&mut self, org: &OrgId, version: u64) {
        let known = self.place(org).and_then(|place| self.orgs.get(place.0)?.as_deref());
        match known {
            Some(known) if known.state.version() >= version => {
                if known.lagged {
                    self.note_behind(org);
                }
            }
            _ => {
                self.forget(org);
                self.note_behind(org);
            }
        }
    }

    /// Puts an org aside that was to be saved and could not be opened: it is tried again later, and holds up no other.
    pub(crate) fn put_aside(&mut self, org: OrgId) {
        self.unsaved.stuck.push(org);
        self.unsaved.stuck_since = self.unsaved.entries;
    }

    /// How many orgs have images that lack entries.
    pub(crate) fn unsaved(&self) -> usize {
        self.unsaved.orgs.len()
    }

    /// Whether far too many orgs wait to be saved: nothing is decided until some are.
    pub(crate) fn is_overfull(&self) -> bool {
        self.unsaved() > 2 * self.pace.unsaved_orgs_max
            || (self.parts > 2 * self.pace.resident_parts_max && self.unsaved() > SAVED_IN_NEED_MAX)
    }

    /// Whether too many orgs wait to be saved, or hold too much memory until they are.
    fn is_in_need(&self) -> bool {
        self.is_crowded || self.unsaved() > self.pace.unsaved_orgs_max
    }

    /// How many images are written together.
    pub(crate) fn saved_at_once(&self) -> usize {
        if self.is_in_need() { SAVED_IN_NEED_MAX } else { SAVED_AT_ONCE_MAX }
    }

    /// How many orgs are to be saved now, after a turn of some entries: none while the oldest change is young and they are
    /// few; then so many that saving goes on evenly, some at a time; and more once they are many, or take too much memory.
    pub(crate) fn due(&mut self, entries: usize) -> usize {
        if self.unsaved.entries - self.unsaved.stuck_since > self.pace.due_entries {
            self.try_stuck();
        }
        if self.is_in_need() {
            return SAVED_IN_NEED_MAX;
        }
        let unsaved = &self.unsaved;
        let age = unsaved.queue.front().map_or(0, |(_, since, _)| unsaved.entries - since);
        if age <= self.pace.due_entries {
            return 0;
        }
        self.owed += entries / 8 + 1;
        if self.owed < self.pace.saved_at_once {
            0
        } else {
            std::mem::take(&mut self.owed).min(SAVED_AT_ONCE_MAX)
        }
    }

    /// Has those that could not be opened come next; nobody knows what changed of them.
    pub(crate) fn try_stuck(&mut self) {
        let Unsaved { queue, stuck, unsent, .. } = &mut self.unsaved;
        for org in stuck.drain(..) {
            unsent.note(&org);
            queue.push_front((0, 0, org));
        }
    }

    /// The next org to save of those whose images lack entries up to a position.
    pub(crate) fn next_unsaved(&mut self, until: u64) -> Option<OrgId> {
        let Unsaved { orgs, queue, .. } = &mut self.unsaved;
        while let Some((_, _, org)) = queue.pop_front_if(|(position, _, _)| *position <= until) {
            if orgs.contains(&org) {
                return Some(org);
            }
        }
        None
    }

    /// The next org to save of those of which more changed than usage, up to a note.
    pub(crate) fn next_urgent(&mut self, until: u64) -> Option<OrgId> {
        let Unsaved { orgs, urgent, .. } = &mut self.unsaved;
        std::iter::from_fn(|| urgent.next(until)).find(|org| orgs.contains(org))
    }

    /// The same of those of which it changed what is unsent.
    pub(crate) fn next_unsent(&mut self, until: u64) -> Option<OrgId> {
        let Unsaved { orgs, unsent, .. } = &mut self.unsaved;
        std::iter::from_fn(|| unsent.next(until)).find(|org| orgs.contains(org))
    }

    /// Whether the image of an org lacks entries, or is on its way.
    pub(crate) fn is_unsaved(&self, org: &OrgId) -> bool {
        self.unsaved.orgs.contains(org) || self.saving.contains_key(org)
    }

    /// The version of the image of an org that is on its way to the store.
    pub(crate) fn saving(&self, org: &OrgId) -> Option<u64> {
        self.saving.get(org).copied()
    }

    /// The image of an org that is in memory.
    pub(crate) fn image_of(&mut self, org: &OrgId) -> Option<Image> {
        self.unsaved.orgs.remove(org);
        self.unsaved.urgent.saved(org);
        self.unsaved.unsent.saved(org);
        let place = self.place(org)?;
        let resident = self.at(place)?;
        (resident.unsaved, resident.lagged) = (false, false);
        let (version, records) = (resident.state.version(), resident.state.take_changed());
        if records.is_empty() {
            return None;
        }
        self.saving.insert(org.clone(), version);
        Some(Image { partition: Partition::Org(org.clone()), version, records })
    }

    /// Up to where all images are whole once those that were taken are kept; `latest` is the position of the latest append.
    pub(crate) fn whole_until(&mut self, latest: u64) -> u64 {
        let Unsaved { orgs, queue, stuck, .. } = &mut self.unsaved;
        stuck.retain(|org| orgs.contains(org));
        if !stuck.is_empty() {
            return 0;
        }
        while queue.front().is_some_and(|(_, _, org)| !orgs.contains(org)) {
            queue.pop_front();
        }
        queue.front().map_or(latest, |(position, _, _)| position.saturating_sub(1))
    }

    /// Notes that images were kept.
    pub(crate) fn saved(&mut self, images: &[Image]) {
        let saving = std::mem::take(&mut self.saving);
        for image in images {
            if let Partition::Org(org) = &image.partition
                && saving.contains_key(org)
                && let Some(place) = self.place(org)
                && let Some(Some(resident)) = self.orgs.get_mut(place.0)
            {
                resident.image = image.version;
                resident.state.saved(&image.records);
                self.count(place);
            }
        }
    }

    /// Lets go of orgs until there are not too many; those whose images lack entries stay.
    pub(crate) fn trim(&mut self) {
        let mut looks = self.orgs.len().min(TRIM_LOOKS_MAX);
        while self.parts > self.pace.resident_parts_max && looks > 0 {
            looks -= 1;
            self.hand = if self.hand + 1 < self.orgs.len() { self.hand + 1 } else { 0 };
            let Some(Some(resident)) = self.orgs.get_mut(self.hand) else { continue };
            if std::mem::take(&mut resident.used) || resident.unsaved || resident.touched {
                continue;
            }
            let org = resident.state.id().clone();
            if !self.is_unsaved(&org) {
                self.forget_at(Place(self.hand));
            }
        }
        self.is_crowded = self.parts > self.pace.resident_parts_max;
    }
}
