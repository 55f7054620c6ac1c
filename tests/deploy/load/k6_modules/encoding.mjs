// 'k6/encoding'
export default { b64encode: (data) => Buffer.from(data).toString('base64') };
