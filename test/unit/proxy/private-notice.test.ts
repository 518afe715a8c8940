import { describe, expect, test } from 'vitest';
import { CODE_WITHIN, isPrivate, readPrivateNotice } from '../../../src/proxy/private-notice.js';
import { Backend } from '../../../src/wire/codes.js';
import { writeFields } from '../../../src/wire/fields.js';
import { message } from '../../../src/wire/message.js';

function notice(...fields: [string, string][]): Buffer {
  return message(
    Backend.NoticeResponse,
    writeFields(fields.map(([code, text]) => ({ code: code.charCodeAt(0), value: Buffer.from(text) }))),
  );
}

function judge(raw: Buffer): boolean {
  const end = Math.min(raw.length, CODE_WITHIN);
  // behind something else, as in a chunk
  const chunk = Buffer.concat([Buffer.from('before'), raw, Buffer.from('behind')]);
  return isPrivate(chunk, 6, 6 + end);
}

describe('a notice is for the proxy', () => {
  test.each<[string, boolean, [string, string][]]>([
    [
      'by its SQLSTATE',
      true,
      [
        ['S', 'INFO'],
        ['V', 'INFO'],
        ['C', 'DF100'],
        ['M', 'x'],
      ],
    ],
    [
      'in any language',
      true,
      [
        ['S', '情報メッセージ'],
        ['V', 'INFO'],
        ['C', 'DF100'],
        ['M', 'x'],
      ],
    ],
    [
      'of a server that says no V',
      true,
      [
        ['S', 'INFO'],
        ['C', 'DF100'],
        ['M', 'x'],
      ],
    ],
    [
      'not with another one',
      false,
      [
        ['S', 'INFO'],
        ['V', 'INFO'],
        ['C', '00000'],
        ['M', 'x'],
      ],
    ],
    [
      'not with a longer one',
      false,
      [
        ['S', 'INFO'],
        ['V', 'INFO'],
        ['C', 'DF1000'],
        ['M', 'x'],
      ],
    ],
    [
      'not by its message',
      false,
      [
        ['S', 'NOTICE'],
        ['V', 'NOTICE'],
        ['C', '00000'],
        ['M', 'CDF100'],
        ['C', 'DF100'],
      ],
    ],
    ['not without fields', false, []],
  ])('%s', (_, expected, fields) => {
    expect(judge(notice(...fields))).toBe(expected);
  });

  test('whatever is cut off behind its SQLSTATE, and never before', () => {
    const raw = notice(['S', 'INFO'], ['V', 'INFO'], ['C', 'DF100'], ['M', 'm'.repeat(500)]);
    const whole = raw.indexOf('DF100') + 6;
    for (let end = 5; end <= raw.length; end++) expect(isPrivate(raw, 0, end)).toBe(end >= whole);
  });

  test('and says what it has to say in message and detail', () => {
    expect(readPrivateNotice(notice(['S', 'INFO'], ['C', 'DF100'], ['M', 'head'], ['D', 'body']))).toEqual({
      head: 'head',
      body: 'body',
    });
    expect(readPrivateNotice(notice(['S', 'INFO'], ['C', 'DF100']))).toBeUndefined();
  });
});
