import { expect, test } from 'vitest';
import { HttpPrivileges } from '../../../src/engine/http-privileges.js';
import type { HttpPrivilege } from '../../../src/state/http-privilege.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('what is asked at the same time goes together, and no answer is older than its question', async () => {
  const asked: string[][] = [];
  const answers: Array<(granted: boolean) => void> = [];
  const privileges = new HttpPrivileges((questions) => {
    asked.push(questions.map(({ roleId, kind }) => `${roleId} ${kind}`));
    return new Promise((resolve) => {
      answers.push((granted) =>
        resolve(questions.map((): HttpPrivilege => (granted ? { kind: 'granted' } : { kind: 'dropped' }))),
      );
    });
  });
  const first = [
    privileges.of('1', 'HTTP'),
    privileges.of('1', 'HTTP'),
    privileges.of('2', 'HTTP_MULTIPART'),
  ];
  await settled();
  const later = privileges.of('1', 'HTTP'); // the first may have been judged already
  await settled();
  expect(asked).toEqual([['1 HTTP', '2 HTTP_MULTIPART']]);
  answers[0]!(true);
  expect(await Promise.all(first)).toEqual([{ kind: 'granted' }, { kind: 'granted' }, { kind: 'granted' }]);
  await settled();
  expect(asked).toEqual([['1 HTTP', '2 HTTP_MULTIPART'], ['1 HTTP']]);
  answers[1]!(false);
  expect(await later).toEqual({ kind: 'dropped' });
});

test('a failure is that of those who asked, and of nobody after them', async () => {
  let fails = true;
  const privileges = new HttpPrivileges(async (questions) => {
    if (fails) throw new Error('connection lost');
    return questions.map((): HttpPrivilege => ({ kind: 'granted' }));
  });
  await expect(privileges.of('1', 'HTTP')).rejects.toThrow('connection lost');
  fails = false;
  expect(await privileges.of('1', 'HTTP')).toEqual({ kind: 'granted' });
});
