//! The most an expression can cost, reckoned from its tree and the bounds of its input: nothing is run.
//!
//! One unit is about ten nanoseconds and at most 16 bytes. Every value has a weight, the units it takes to copy or compare it
//! once; each step costs what it touches, and a macro's body costs its own as often as its range can have items. That is an upper
//! bound, coarse but safe: what grows by doubling, by repetition or by a macro over a macro's result is refused by the same sum.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{
    Problem,
    environment::Environment,
    pattern,
    weight::{NODE, Weight, text},
};

/// How many levels an expression may have.
pub(super) const MAX_DEPTH: usize = 32;
/// How many macros an expression may have, one after another.
pub(super) const MAX_MACROS: usize = 4;
/// How many entries a list or map that is written out may have.
pub(super) const MAX_ENTRIES: usize = 64;
/// The most units an evaluation may cost: about 50 ms, half of what `runtime::evaluator` waits.
const MAX_COST: u64 = 5_000_000;
/// The heaviest value: at most 4 MiB.
const MAX_WEIGHT: u64 = 250_000;
/// Refuses an expression whose cost is not bounded, or too high; the names it uses, as [`Environment::used_name`] tells them.
pub(super) fn check(expression: &IdedExpr, environment: &Environment) -> Result<BTreeSet<String>, Problem> {
    let mut reckoner = Reckoner {
        environment,
        used: BTreeSet::new(),
        cost: 0,
        repeated: 1,
        macros: 0,
        in_body: false,
        locals: Vec::new(),
    };
    reckoner.weigh(expression, 1)?;
    Ok(reckoner.used)
}

struct Reckoner<'e> {
    environment: &'e Environment,
    used: BTreeSet<String>,
    cost: u64,
    /// How often the part that is being looked at runs.
    repeated: u64,
    macros: usize,
    /// Whether the part that is being looked at is the body of a macro.
    in_body: bool,
    /// The variables of macros, the innermost last.
    locals: Vec<(&'e str, Weight)>,
}

impl<'e> Reckoner<'e> {
    fn charge(&mut self, units: u64) -> Result<(), Problem> {
        self.cost = self.cost.saturating_add(units.saturating_mul(self.repeated));
        if self.cost > MAX_COST { Err(Problem::TooExpensive) } else { Ok(()) }
    }

    /// The most a part can weigh, with all that it costs charged.
    fn weigh(&mut self, part: &'e IdedExpr, depth: usize) -> Result<Weight, Problem> {
        // Before anything else: it also bounds this recursion.
        if depth > MAX_DEPTH {
            return Err(Problem::TooDeep);
        }
        self.charge(NODE)?;
        let weight = match &part.expr {
            Expr::Literal(literal) => literal_weight(literal),
            Expr::Ident(_) | Expr::Select(_) => self.weigh_selection(&part.expr, depth)?,
            Expr::Call(call) => self.weigh_call(call, depth)?,
            Expr::Comprehension(comprehension) => self.weigh_macro(comprehension, depth)?,
            Expr::List(list) => self.weigh_entries(&list.elements.iter().collect::<Vec<_>>(), depth)?,
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { return Err(Problem::Structure) };
                    entries.extend([&entry.key, &entry.value]);
                }
                self.weigh_entries(&entries, depth)?
            }
            Expr::Struct(_) | Expr::Unspecified => return Err(Problem::Structure),
        };
        if weight.total > MAX_WEIGHT { Err(Problem::TooExpensive) } else { Ok(weight) }
    }

    /// A variable, or a field of something.
    fn weigh_selection(&mut self, part: &'e Expr, depth: usize) -> Result<Weight, Problem> {
        let mut fields = Vec::new();
        let (mut root, mut test) = (part, false);
        while let Expr::Select(select) = root {
            // Only the outermost selection can be a test, `has(a.b)`.
            test |= select.test;
            fields.push(select.field.as_str());
            root = &select.operand.expr;
            if fields.len() > MAX_DEPTH {
                return Err(Problem::TooDeep);
            }
        }
        fields.reverse();
        let weight = if let Expr::Ident(name) = root {
            if let Some((_, weight)) = self.locals.iter().rev().find(|(local, _)| local == name) {
                fields.iter().fold(*weight, |weight, _| weight.item())
            } else {
                let path = [&[name.as_str()], &fields[..]].concat().join(".");
                let Some(weight) = self.environment.weight(&path) else { return Err(Problem::UnknownName(path)) };
                self.used.insert(self.environment.used_name(path));
                weight
            }
        } else {
            let Expr::Select(select) = part else { return Err(Problem::Structure) };
            self.weigh(&select.operand, depth + 1)?.item()
        };
        Ok(if test { Weight::SMALL } else { weight })
    }

    /// The parts of a list or map that is written out: each is copied into it.
    fn weigh_entries(&mut self, entries: &[&'e IdedExpr], depth: usize) -> Result<Weight, Problem> {
        if entries.len() > MAX_ENTRIES {
            return Err(Problem::TooManyEntries);
        }
        let mut whole = Weight::SMALL;
        for entry in entries {
            let entry = self.weigh(entry, depth + 1)?;
            whole = whole.plus(Weight { items: 1, each: entry.total, ..entry });
        }
        self.charge(whole.total)?;
        Ok(whole)
    }

    fn weigh_call(&mut self, call: &'e CallExpr, depth: usize) -> Result<Weight, Problem> {
        let parts: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let mut weights = Vec::new();
        for part in &parts {
            let weight = self.weigh(part, depth + 1)?;
            self.charge(weight.total)?;
            weights.push(weight);
        }
        let heaviest = weights.iter().copied().fold(Weight::SMALL, Weight::or);
        match call.func_name.as_str() {
            operators::ADD => {
                let sum = weights.iter().copied().reduce(Weight::plus).unwrap_or(Weight::SMALL);
                self.charge(sum.total)?;
                Ok(sum)
            }
            operators::CONDITIONAL => Ok(heaviest),
            operators::INDEX => Ok(weights.first().map_or(Weight::SMALL, |container| container.item())),
            // Numbers, durations and timestamps grow when they are written out; texts and bytes stay what they are.
            "string" | "bytes" => Ok(heaviest.plus(Weight::scalar(4 * NODE))),
            // Each byte may become three.
            "urlquery" if self.environment.encodes() && call.target.is_none() && parts.len() == 1 => {
                Ok(Weight::scalar(heaviest.total.saturating_mul(3)))
            }
            "matches" => {
                let pattern = pattern_cost(parts.last().copied())?;
                self.charge(pattern.ready)?;
                // A weight is 16 bytes, each of which costs two nanoseconds a state at worst.
                self.charge(heaviest.total.saturating_mul(pattern.states).saturating_mul(3))?;
                Ok(Weight::SMALL)
            }
            operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::IN
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE
            | "size"
            | "startsWith"
            | "endsWith"
            | "contains"
            | "int"
            | "uint"
            | "double"
            | "bool"
            | "duration"
            | "timestamp"
            | "getFullYear"
            | "getMonth"
            | "getDate"
            | "getDayOfMonth"
            | "getDayOfWeek"
            | "getDayOfYear"
            | "getHours"
            | "getMinutes"
            | "getSeconds"
            | "getMilliseconds" => Ok(Weight::SMALL),
            other => Err(Problem::UnknownFunction(other.to_owned())),
        }
    }

    /// `all`, `exists`, `exists_one`, `filter` and `map`, as the parser writes them out.
    fn weigh_macro(&mut self, comprehension: &'e ComprehensionExpr, depth: usize) -> Result<Weight, Problem> {
        if self.in_body {
            return Err(Problem::NestedMacros);
        }
        self.macros += 1;
        if self.macros > MAX_MACROS {
            return Err(Problem::TooManyMacros);
        }
        let range = self.weigh(&comprehension.iter_range, depth + 1)?;
        let start = self.weigh(&comprehension.accu_init, depth + 1)?;

        let (outer, visible) = (self.repeated, self.locals.len());
        self.repeated = outer.saturating_mul(range.items.max(1));
        self.in_body = true;
        let item = range.each_of_all();
        self.charge(item.total)?;
        self.locals.push((&comprehension.accu_var, Weight::SMALL));
        self.locals.push((&comprehension.iter_var, item));
        if let Some(second) = &comprehension.iter_var2 {
            self.locals.push((second, item));
        }
        self.weigh(&comprehension.loop_cond, depth + 1)?;
        // The accumulator counts as small within a step: `all`, `exists` and `exists_one` keep it so, and the interpreter appends
        // in place for `map` and `filter`. What one step gives is therefore what it adds.
        let step = self.weigh(&comprehension.loop_step, depth + 1)?;
        self.repeated = outer;
        self.in_body = false;

        self.locals.truncate(visible);
        self.locals.push((&comprehension.accu_var, start.plus(step.times(range.items)).as_shaped_as(range)));
        let result = self.weigh(&comprehension.result, depth + 1);
        self.locals.truncate(visible);
        result
    }
}

fn literal_weight(literal: &LiteralValue) -> Weight {
    match literal {
        LiteralValue::String(string) => Weight::scalar(text(string.inner().len())),
        LiteralValue::Bytes(bytes) => Weight::scalar(text(bytes.inner().len())),
        _ => Weight::SMALL,
    }
}

/// A pattern's cost, if it is written out: otherwise nothing is known about it.
fn pattern_cost(pattern: Option<&IdedExpr>) -> Result<pattern::Cost, Problem> {
    match pattern {
        Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. }) => Ok(pattern::cost(pattern.inner())),
        _ => Err(Problem::PatternNotLiteral),
    }
}
