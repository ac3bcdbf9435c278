//! The sequential rules of one organization, as its ledger orders what changed, and the search for an order of all else.
//!
//! An answer that changed something carries the number of its ledger entry, and the ledger read at the end has them all.
//! So the order of the changes is not searched for: any order that explains the answers must be that of the numbers.
//! Everything else (a denial, a replay, a check, a balance) changed nothing, and must be explained by the state after
//! some entry, its *place*.
//!
//! A history is linearizable exactly when places can be found that respect real time: what was answered before another
//! was asked does not come after it. Going through the operations in the order in which they were asked, each is given
//! the earliest place that explains its answer and is not before the places of those answered earlier. Earlier places
//! only ever leave more room to the operations behind, so if the earliest one does not do, none does: the search is
//! complete without going back. An operation whose answer is not known (a time-out, a kill, a client that hung up) may
//! take effect at any time after it was asked, or never; it did if the ledger says so.

use std::collections::BTreeMap;

use serde_json::Value;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Use { user: usize, quantity: u64, key: String },
    TopUp { quantity: u64, key: String },
    Reverse { key: String },
    Check { user: usize, quantity: u64 },
    Balance,
}

/// An answer, as far as it is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done: with its entry, whether it is told again, and what was used, remained and was used by the user after it.
    Done { entry: u64, replayed: bool, used: Option<u64>, remaining: Option<u64>, user_used: Option<u64> },
    /// Taken back: its entry, that of the usage, whether it is told again.
    Reversed { entry: u64, reversed: u64, replayed: bool },
    /// Refused, with the code, what remained, and what the limit had counted.
    No { code: String, remaining: Option<u64>, counted: Option<u64> },
    /// What was or would be used and remain.
    Seen { used: u64, remaining: u64 },
}

/// One request of one client.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) ask: Ask,
    /// When it was asked, in nanoseconds since the run began.
    pub(crate) asked: u64,
    /// When it was answered and how; `None` when it is not known.
    pub(crate) answer: Option<(u64, Answer)>,
}

/// The rules of the organization.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) allowance: u64,
    pub(crate) each_user: u64,
    pub(crate) users: usize,
}

/// The state after an entry.
#[derive(Clone, Debug, Default)]
struct State {
    granted: u64,
    used: u64,
    users: Vec<u64>,
}

impl State {
    fn remaining(&self) -> u64 {
        self.granted.saturating_sub(self.used)
    }

    /// The code of the refusal, and what the limit has counted.
    fn refuses(&self, rules: Rules, user: usize, quantity: u64) -> Option<(&'static str, u64)> {
        if quantity > self.remaining() {
            return Some(("org_limit_reached", self.used));
        }
        let by_user = self.users[user];
        (by_user + quantity > rules.each_user).then_some(("user_limit_reached", by_user))
    }
}

/// What the ledger says of a key.
#[derive(Clone, Debug)]
struct Known {
    entry: u64,
    ask: Ask,
    reversed: Option<u64>,
}

/// The ledger as a sequence of states.
pub(crate) struct Model {
    rules: Rules,
    /// The state after each entry; before the first at place 0.
    states: Vec<State>,
    used: BTreeMap<String, Known>,
    topped_up: BTreeMap<String, Known>,
}

fn number(entry: &Value, member: &str) -> Option<u64> {
    entry.get(member).and_then(Value::as_u64)
}

fn text<'a>(entry: &'a Value, member: &str) -> &'a str {
    entry.get(member).and_then(Value::as_str).unwrap_or_default()
}

impl Model {
    /// Goes through a ledger by the rules.
    ///
    /// # Errors
    /// The first entry that the rules do not allow where it stands.
    pub(crate) fn of(rules: Rules, ledger: &[Value]) -> Result<Self, String> {
        let first = State { granted: rules.allowance, used: 0, users: vec![0; rules.users] };
        let (used, topped_up) = (BTreeMap::new(), BTreeMap::new());
        let mut model = Self { rules, states: vec![first], used, topped_up };
        for (entry, place) in ledger.iter().zip(1..) {
            if number(entry, "entry") != Some(place) {
                return Err(format!("at place {place} of the ledger stands {entry}"));
            }
            let mut state = model.states.last().cloned().unwrap_or_default();
            model.take(&mut state, place, entry).map_err(|error| format!("{error}: {entry}"))?;
            model.states.push(state);
        }
        Ok(model)
    }

    fn take(&mut self, state: &mut State, place: u64, entry: &Value) -> Result<(), String> {
        let (key, quantity) = (text(entry, "key").to_owned(), number(entry, "quantity").unwrap_or_default());
        match text(entry, "kind") {
            "used" => {
                let user = user_number(text(entry, "user")).ok_or("a usage by nobody")?;
                if let Some(refusal) = state.refuses(self.rules, user, quantity) {
                    return Err(format!("the rules say {refusal:?}"));
                }
                state.used += quantity;
                state.users[user] += quantity;
                let ask = Ask::Use { user, quantity, key: key.clone() };
                let known = Known { entry: place, ask, reversed: None };
                if self.used.insert(key, known).is_some() {
                    return Err("a key counts twice".to_owned());
                }
            }
            "topped_up" => {
                state.granted += quantity;
                let ask = Ask::TopUp { quantity, key: key.clone() };
                let known = Known { entry: place, ask, reversed: None };
                if self.topped_up.insert(key, known).is_some() {
                    return Err("a top-up counts twice".to_owned());
                }
            }
            "reversed" => {
                let known = self.used.get_mut(&key).ok_or("nothing to take back")?;
                let Ask::Use { user, quantity, .. } = known.ask else { return Err("not a usage".to_owned()) };
                if known.reversed.replace(place).is_some() {
                    return Err("a usage is taken back twice".to_owned());
                }
                state.used -= quantity;
                state.users[user] -= quantity;
            }
            "refused" | "org_set" | "plan_set" | "limit_set" => {}
            other => return Err(format!("an entry of the kind {other:?}")),
        }
        Ok(())
    }

    fn state(&self, place: u64) -> Option<&State> {
        self.states.get(usize::try_from(place).ok()?)
    }

    /// The entry that an operation made, if its answer or the ledger says that it did.
    fn change_of(&self, operation: &Operation) -> Option<u64> {
        match operation.answer.as_ref()?.1 {
            Answer::Done { entry, replayed: false, .. } | Answer::Reversed { entry, replayed: false, .. } => {
                Some(entry)
            }
            _ => None,
        }
    }

    /// The entry that an unanswered operation may have made.
    fn possible_change_of(&self, ask: &Ask) -> Option<u64> {
        match ask {
            Ask::Use { key, .. } => {
                self.used.get(key).filter(|known| known.ask == *ask).map(|known| known.entry)
            }
            Ask::TopUp { key, .. } => {
                self.topped_up.get(key).filter(|known| known.ask == *ask).map(|known| known.entry)
            }
            Ask::Reverse { key } => self.used.get(key)?.reversed,
            Ask::Check { .. } | Ask::Balance => None,
        }
    }

    /// Whether the answer of an operation is explained by the state after an entry; if it made one, by that before it.
    fn explains(&self, ask: &Ask, answer: &Answer, place: u64) -> bool {
        let Some(state) = self.state(place) else { return false };
        match (ask, answer) {
            (Ask::Use { key, .. }, _) => self.explains_use(ask, answer, place, self.used.get(key)),
            (Ask::TopUp { key, .. }, Answer::Done { entry, replayed, remaining, .. }) => {
                let known =
                    self.topped_up.get(key).filter(|known| known.ask == *ask && known.entry == *entry);
                let after = self.state(*entry).map(State::remaining);
                known.is_some() && *remaining == after && *replayed == (*entry <= place)
            }
            (Ask::TopUp { key, .. }, Answer::No { code, .. }) => {
                let known = self.topped_up.get(key).filter(|known| known.entry <= place);
                code == "key_reused" && known.is_some_and(|known| known.ask != *ask)
            }
            (Ask::Reverse { key }, Answer::Reversed { entry, reversed, replayed }) => {
                let known = self.used.get(key).filter(|known| known.entry == *reversed && *reversed <= place);
                known.is_some_and(|known| known.reversed == Some(*entry)) && *replayed == (*entry <= place)
            }
            (Ask::Reverse { key }, Answer::No { code, .. }) => {
                code == "unknown_key" && self.used.get(key).is_none_or(|known| known.entry > place)
            }
            (Ask::Check { user, quantity }, Answer::Seen { used, remaining }) => {
                state.refuses(self.rules, *user, *quantity).is_none()
                    && *used == state.used + quantity
                    && *remaining == state.remaining() - quantity
            }
            (Ask::Check { user, quantity }, Answer::No { code, remaining, counted }) => {
                let refusal = state.refuses(self.rules, *user, *quantity);
                refusal.is_some_and(|(wanted, _)| wanted == code)
                    && *remaining == Some(state.remaining())
                    && *counted == Some(state.used)
            }
            (Ask::Balance, Answer::Seen { used, remaining }) => {
                *used == state.used && *remaining == state.remaining()
            }
            _ => false,
        }
    }

    fn explains_use(&self, ask: &Ask, answer: &Answer, place: u64, known: Option<&Known>) -> bool {
        let Ask::Use { user, quantity, .. } = ask else { return false };
        let known_here = known.filter(|known| known.entry <= place);
        match (answer, known_here) {
            (Answer::Done { entry, replayed, used, remaining, user_used }, _) => {
                let right = known.is_some_and(|known| known.entry == *entry && known.ask == *ask);
                let taken_back = known_here.and_then(|known| known.reversed).is_some_and(|at| at <= place);
                let after = self.state(*entry);
                right
                    && !taken_back
                    && *replayed == known_here.is_some()
                    && *used == after.map(|state| state.used)
                    && *remaining == after.map(State::remaining)
                    && *user_used == after.map(|state| state.users[*user])
            }
            (Answer::No { code, .. }, Some(known)) if known.ask != *ask => code == "key_reused",
            (Answer::No { code, .. }, Some(known)) => {
                code == "key_reversed" && known.reversed.is_some_and(|at| at <= place)
            }
            (Answer::No { code, remaining, counted }, None) => self.state(place).is_some_and(|state| {
                let refusal = state.refuses(self.rules, *user, *quantity);
                refusal.is_some_and(|(wanted, by_limit)| wanted == code && *counted == Some(by_limit))
                    && *remaining == Some(state.remaining())
            }),
            _ => false,
        }
    }

    /// Finds a place for every operation, or says which has none.
    ///
    /// # Errors
    /// The operation that no order explains.
    pub(crate) fn check(&self, operations: &[Operation]) -> Result<(), String> {
        let makers = self.makers(operations)?;
        let mut order: Vec<usize> = (0..operations.len()).collect();
        order.sort_by_key(|index| operations[*index].asked);
        let mut answered: Vec<(u64, usize)> = (operations.iter().zip(0..))
            .filter_map(|(operation, index)| Some((operation.answer.as_ref()?.0, index)))
            .collect();
        answered.sort_unstable();
        let (mut places, mut floor, mut heard) = (vec![0; operations.len()], 0, 0);
        for index in order {
            let operation = &operations[index];
            // What had been answered before this was asked.
            while let Some((at, earlier)) = answered.get(heard).filter(|(at, _)| *at < operation.asked) {
                let _ = at;
                floor = floor.max(places[*earlier]);
                heard += 1;
            }
            let fail = |what: &str| Err(format!("{what}, with {floor} entries behind it: {operation:?}"));
            if let Some(entry) = makers.get(&index) {
                if *entry <= floor {
                    return fail(&format!("it made entry {entry}, which is too early"));
                }
                let explained = operation.answer.as_ref();
                if explained.is_some_and(|(_, answer)| !self.explains(&operation.ask, answer, entry - 1)) {
                    return fail("its entry does not explain its answer");
                }
                places[index] = *entry;
                continue;
            }
            let Some((_, answer)) = &operation.answer else { continue };
            let last = u64::try_from(self.states.len()).unwrap_or(u64::MAX);
            match (floor..last).find(|place| self.explains(&operation.ask, answer, *place)) {
                Some(place) => places[index] = place,
                None => return fail("no place explains its answer"),
            }
        }
        Ok(())
    }

    /// Which operation made which entry: each entry was made by one that asked for it.
    fn makers(&self, operations: &[Operation]) -> Result<BTreeMap<usize, u64>, String> {
        let mut by_entry: BTreeMap<u64, usize> = BTreeMap::new();
        for (operation, index) in operations.iter().zip(0..) {
            if let Some(entry) = self.change_of(operation)
                && by_entry.insert(entry, index).is_some()
            {
                return Err(format!("two operations made entry {entry}, one of them {operation:?}"));
            }
        }
        let mut unknown: Vec<usize> =
            (0..operations.len()).filter(|index| operations[*index].answer.is_none()).collect();
        // The one asked first leaves most room.
        unknown.sort_by_key(|index| operations[*index].asked);
        for index in unknown {
            if let Some(entry) = self.possible_change_of(&operations[index].ask) {
                by_entry.entry(entry).or_insert(index);
            }
        }
        let used = self.used.values().flat_map(|known| [Some(known.entry), known.reversed]);
        let topped_up = self.topped_up.values().map(|known| Some(known.entry));
        match used.chain(topped_up).flatten().find(|entry| !by_entry.contains_key(entry)) {
            Some(entry) => Err(format!("nobody asked for entry {entry}")),
            None => Ok(by_entry.into_iter().map(|(entry, index)| (index, entry)).collect()),
        }
    }
}

pub(crate) fn user_name(user: usize) -> String {
    format!("u{user}")
}

fn user_number(name: &str) -> Option<usize> {
    name.strip_prefix('u')?.parse().ok()
}
