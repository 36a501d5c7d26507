mod budgets;
mod calls;
mod files;
mod machine;
