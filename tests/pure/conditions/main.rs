//! Finds the parts of conditions, each a guard: the operands of `&&` and `||`, and comparisons. Of what cargo-mutants finds, those of
//! operators need a build each; a part of a condition can be taken away by what is written around it, so that all fit into one.
//!
//! `conditions TREE FILE...` prints them as cargo-mutants prints its mutants: a JSON list, an inner part before the outer one.

use std::{env, fs, path::Path};

use anyhow::{Context, Result};
use proc_macro2::Span;
use serde_json::{Value, json};
use syn::{
    Attribute, BinOp, Expr, ExprBinary, ImplItemFn, ItemFn, ItemImpl, ItemMod, Macro, Pat, Token,
    parse::{Parse, ParseStream},
    spanned::Spanned,
    visit::{self, Visit},
};

fn main() -> Result<()> {
    let mut words = env::args().skip(1);
    let tree = words.next().context("conditions TREE FILE...")?;
    let mut found = vec![];
    for file in words {
        let text = fs::read_to_string(Path::new(&tree).join(&file)).with_context(|| file.clone())?;
        found.extend(in_file(&file, &text)?);
    }
    println!("{}", Value::from(found));
    Ok(())
}

fn in_file(file: &str, text: &str) -> Result<Vec<Value>> {
    let mut finder = Finder { file, text, function: String::new(), found: vec![] };
    finder.visit_file(&syn::parse_file(text).with_context(|| file.to_owned())?);
    Ok(finder.found)
}

struct Finder<'f> {
    file: &'f str,
    text: &'f str,
    function: String,
    found: Vec<Value>,
}

/// What `matches!` is given: to syn it is no more than tokens.
struct Matches {
    scrutinee: Expr,
    guard: Option<Expr>,
}

impl Parse for Matches {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let scrutinee = input.parse()?;
        input.parse::<Token![,]>()?;
        Pat::parse_multi_with_leading_vert(input)?;
        let guard = input.parse::<Option<Token![if]>>()?.map(|_| input.parse()).transpose()?;
        input.parse::<Option<Token![,]>>()?;
        Ok(Self { scrutinee, guard })
    }
}

impl Finder<'_> {
    /// Notes a part down; `replacement` is what it becomes, `!` for its contrary.
    fn note(&mut self, genre: &str, span: Span, replacement: &str, what: &str) {
        let place = |at: proc_macro2::LineColumn| json!({"line": at.line, "column": at.column + 1});
        let (start, end) = (span.start(), span.end());
        let said = self.said(span);
        self.found.push(json!({
            "file": self.file,
            "genre": genre,
            "replacement": replacement,
            "span": {"start": place(start), "end": place(end)},
            "name": format!("{}:{}:{}: {what} `{said}` in {}", self.file, start.line, start.column + 1, self.function),
        }));
    }

    /// The source of a part, in one line.
    fn said(&self, span: Span) -> String {
        let (start, end) = (span.start(), span.end());
        let lines = self.text.lines().enumerate().skip(start.line - 1).take(end.line + 1 - start.line);
        let parts = lines.map(|(n, line)| {
            let to = if n + 1 == end.line { end.column } else { usize::MAX };
            let from = if n + 1 == start.line { start.column } else { 0 };
            line.chars().take(to).skip(from).collect::<String>().trim().to_owned()
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    fn within(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.function, name.to_string());
        visit(self);
        self.function = outer;
    }
}

/// The operands of a chain of one operator, in order.
fn operands<'e>(expr: &'e Expr, is: fn(&BinOp) -> bool, found: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Binary(binary) if is(&binary.op) => {
            operands(&binary.left, is, found);
            operands(&binary.right, is, found);
        }
        other => found.push(other),
    }
}

/// Whether it is there only sometimes: in tests, as a rule.
fn is_conditional(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg"))
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_conditional(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        if !is_conditional(&block.attrs) {
            visit::visit_item_impl(self, block);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !is_conditional(&function.attrs) {
            self.within(&function.sig.ident, |finder| visit::visit_item_fn(finder, function));
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.within(&function.sig.ident, |finder| visit::visit_impl_item_fn(finder, function));
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        let (is, replacement): (fn(&BinOp) -> bool, _) = match binary.op {
            BinOp::And(_) => (|op| matches!(op, BinOp::And(_)), "true"),
            BinOp::Or(_) => (|op| matches!(op, BinOp::Or(_)), "false"),
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                visit::visit_expr_binary(self, binary);
                return self.note("Comparison", binary.span(), "!", "turn round");
            }
            _ => return visit::visit_expr_binary(self, binary),
        };
        let mut parts = vec![];
        operands(&binary.left, is, &mut parts);
        operands(&binary.right, is, &mut parts);
        for part in parts {
            self.visit_expr(part);
            // What a `let` binds is needed by what follows it.
            if !matches!(part, Expr::Let(_)) {
                self.note("Operand", part.span(), replacement, "leave out");
            }
        }
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if called.path.is_ident("matches") {
            let given = called.parse_body::<Matches>().expect("matches! with an expression, a pattern and a guard");
            // Visited by hand: what is parsed here does not live as long as the file does.
            let mut inner = Finder { found: vec![], function: self.function.clone(), ..*self };
            inner.visit_expr(&given.scrutinee);
            given.guard.iter().for_each(|guard| inner.visit_expr(guard));
            self.found.append(&mut inner.found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_condition_is_found_once_inner_parts_first() {
        let text = "
impl It {
    fn is(&self) -> bool {
        let so = if let Some(x) = self.x && x > 1 && !self.gone() { matches!(self.y, Y::A | Y::B if self.z || x == 2) } else { false };
        so || (self.a &&
            self.b)
    }
}
#[cfg(test)]
mod tests {
    fn of(a: bool) -> bool { a && a }
}";
        let found = in_file("it.rs", text).unwrap();
        let names: Vec<&str> = found.iter().filter_map(|part| part["name"].as_str()).collect();
        let words: Vec<&str> = names.iter().map(|name| name.split_once(": ").unwrap().1).collect();
        assert_eq!(
            words,
            [
                "turn round `x > 1` in is",
                "leave out `x > 1` in is",
                "leave out `!self.gone()` in is",
                "leave out `self.z` in is",
                "turn round `x == 2` in is",
                "leave out `x == 2` in is",
                "leave out `so` in is",
                "leave out `self.a` in is",
                "leave out `self.b` in is",
                "leave out `(self.a && self.b)` in is",
            ]
        );
        assert_eq!(found[1]["replacement"], "true");
        assert_eq!(found[3]["replacement"], "false");
        assert_eq!(found[2]["span"], json!({"start": {"line": 4, "column": 54}, "end": {"line": 4, "column": 66}}));
    }
}
