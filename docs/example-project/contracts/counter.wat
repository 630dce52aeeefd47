;; A number that starts at 0. Results are rkyv archives: an i64 is its eight bytes.
(module
  (memory (export "memory") 2)
  (global (export "A") i32 (i32.const 65536)) ;; where arguments and results are passed

  (func (export "increment") (param i32) (result i32)
    (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.const 1)))
    (i32.const 0))

  (func (export "value") (param i32) (result i32)
    (i64.store (i32.const 65536) (i64.load (i32.const 0)))
    (i32.const 8)))
