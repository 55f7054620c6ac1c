// 'k6/execution': another virtual user each time it is asked.
let users = 0;
export default { vu: { get idInTest() { users += 1; return users; } } };
