//! Tests of the routes, with the real driver and engine behind them.

mod document;
mod env;
mod executors;
mod flow;
mod page;
mod refusals;
mod waiting;
