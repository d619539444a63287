// Opens a file each time that it is told to go on, by functions that are compiled better in between.
'use strict';
const fs = require('node:fs');

const opens = () => fs.openSync('/etc/hostname');
const rests = () => 0;
function gamma(what) {
  return what() + 1;
}
function beta(what) {
  return gamma(what) + 1;
}
function alpha(what) {
  return beta(what) + 1;
}
// It knows both ways, or it would take what it has learnt back.
for (let n = 0; n < 2000; n += 1) {
  fs.closeSync(alpha(opens) - 3);
  alpha(rests);
}
console.log('ready');
process.stdin.on('data', () => {
  alpha(opens);
  console.log('end');
  for (let n = 1; n < 3e6; n += 1) alpha(rests);
});
