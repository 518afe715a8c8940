import { expect, it } from 'vitest';
import { createLog } from '../../../src/observe/log.js';

function written(work: (log: ReturnType<typeof createLog>) => void): string {
  let text = '';
  work(
    createLog('info', {
      write: (line) => {
        text += line;
      },
    }),
  );
  return text;
}

it('a log line is JSON with level, time and message', () => {
  const line = JSON.parse(written((log) => log.info({ role: 'app' }, 'step done')));
  expect(line).toMatchObject({ level: 'info', role: 'app', msg: 'step done' });
  expect(Date.parse(line.time)).not.toBeNaN();
});

it('secrets and row data that are logged by mistake are redacted', () => {
  const text = written((log) => {
    log.info(
      { password: 'hush', credential: { clientKey: 'hush' }, upstream: { password: 'hush', url: 'hush' } },
      'x',
    );
    log.info({ rows: ['hush'], message: { values: ['hush'] } }, 'y');
  });
  expect(text).not.toContain('hush');
  expect(text).toContain('[redacted]');
});

it('an error of the server is logged without the fields that quote data', () => {
  const error = Object.assign(new Error('duplicate key'), {
    code: '23505',
    detail: 'Key (a)=(hush)',
    where: 'hush',
  });
  const text = written((log) => log.error({ err: error }, 'failed'));
  expect(text).not.toContain('hush');
  expect(JSON.parse(text).err).toMatchObject({ message: 'duplicate key', code: '23505' });
});

it('nothing below the level is written', () => {
  expect(written((log) => log.debug('quiet'))).toBe('');
});
