--
-- PostgreSQL database cluster dump
--

\restrict 53cda88a3d56033bae561bd1ff2f5f3544a399355c14c24aeb13e1e5f73cad05

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE kept_owner;
ALTER ROLE kept_owner WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE kept_reader;
ALTER ROLE kept_reader WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 3;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;

--
-- User Configurations
--








\unrestrict 53cda88a3d56033bae561bd1ff2f5f3544a399355c14c24aeb13e1e5f73cad05

--
-- PostgreSQL database cluster dump complete
--

